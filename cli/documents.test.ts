import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { parseText, readMessage, renderDocument } from './documents.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-documents-'));
after(() => rmSync(directory, { recursive: true }));
const file = (text: string): string => {
  const path = join(directory, 'file.yaml');
  writeFileSync(path, text);
  return path;
};

test('JSON and YAML are read alike', async () => {
  const json = await readMessage(
    'PodSandboxConfig',
    file('{"metadata": {"name": "p", "attempt": 1}, "log_directory": "/l"}'),
  );
  const yaml = await readMessage(
    'PodSandboxConfig',
    file('metadata:\n  name: p\n  attempt: 1\nlog_directory: /l\n'),
  );
  assert.deepEqual(json, yaml);
  assert.equal(yaml.logDirectory, '/l');
});

test('mistakes name the file, and the line or the field', async () => {
  await assert.rejects(
    readMessage('PodSandboxConfig', file('metadata:\n  nmae: p\n')),
    /file\.yaml: metadata\.nmae is not a field of PodSandboxMetadata/,
  );
  await assert.rejects(readMessage('PodSandboxConfig', file('a: b\nc: [\n')), /file\.yaml:\d+: /);
  await assert.rejects(readMessage('PodSandboxConfig', file('{"a": 1,, }')), /file\.yaml:1: /);
  await assert.rejects(readMessage('PodSandboxConfig', file('')), /must be an object/);
  await assert.rejects(
    readMessage('PodSandboxConfig', join(directory, 'none')),
    /none: cannot be read \(ENOENT\)/,
  );
});

test('expansion of aliases is bounded', () => {
  const bomb = ['a0: &a0 [x,x,x,x,x,x,x,x,x,x]'];
  for (let level = 1; level < 9; level++)
    bomb.push(
      `a${level}: &a${level} [${Array(10)
        .fill(`*a${level - 1}`)
        .join(',')}]`,
    );
  assert.throws(() => parseText(bomb.join('\n'), 'bomb'), { message: /^bomb: Excessive alias/ });
});

test('documents are rendered as JSON and as YAML', () => {
  const value = { status: { id: 'x', labels: { 'a.b/c': 'd: e' }, list: [] } };
  assert.deepEqual(JSON.parse(renderDocument(value, 'json')), value);
  assert.deepEqual(parseText(renderDocument(value, 'yaml'), ''), value);
});
