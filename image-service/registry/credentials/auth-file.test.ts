import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { parseAuthFile, readAuthFile, readEntry, scopesOf } from './auth-file.ts';

const encoded = (text: string) => Buffer.from(text).toString('base64');

test('scopes of keys as docker, podman and Kubernetes write them', () => {
  const { entries } = parseAuthFile(
    JSON.stringify({
      auths: {
        'https://h/v1/': {},
        h: {},
        'H:443/ns/repo/': {},
        'index.docker.io/v1/': {},
        'https://user:secret@h.example/x': {},
        '[::1]:5000/ns': {},
      },
    }),
    '/auth.json',
  );
  const scopes = entries.map(({ scope }) => scope);
  assert.deepEqual(scopes, ['h', 'h/ns/repo', '[::1]:5000/ns', 'h', 'docker.io', 'h.example']);
  assert.ok(!JSON.stringify(entries).includes('secret'));
  assert.deepEqual(scopesOf('h', 'a/b'), ['h/a/b', 'h/a', 'h']);
  assert.deepEqual(scopesOf('h', undefined), ['h']);
});

test('a malformed file or entry says why, without its text', () => {
  for (const [text, word] of [
    ['', 'empty'],
    [' \n', 'empty'],
    ['{"auths": {"h": {"auth": "hunter2', 'not JSON'],
    ['[]', 'not a JSON object'],
    ['{"auths": ["hunter2"]}', 'auths is not'],
    ['{"credHelpers": {"h": "../hunter2"}}', 'helper'],
    ['{"credsStore": ["hunter2"]}', 'credsStore'],
  ] as const) {
    const { problems, entries } = parseAuthFile(text, '/auth.json');
    assert.match(problems.join(), new RegExp(`^auth file /auth.json: .*${word}`), text);
    assert.doesNotMatch(problems.join(), /hunter2/);
    assert.deepEqual(entries, []);
  }
  assert.deepEqual(parseAuthFile('null', '/auth.json').problems, []);
  for (const value of [null, 'hunter2', { auth: 'hunter2!' }, { auth: encoded('hunter2') }, { auth: 7 }]) {
    const problem = readEntry({ scope: 'h', source: '/auth.json, entry "h"', value });
    assert.match(String(problem), /^auth file \/auth\.json, entry "h": /);
    assert.doesNotMatch(String(problem), /hunter2/);
  }
  assert.equal(readEntry({ scope: 'h', source: '', value: {} }), undefined);
});

test('what is not a regular file is not waited for, and says so', { timeout: 60_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'auth-file-'));
  try {
    const [fifo, loop] = [join(directory, 'fifo'), join(directory, 'loop')];
    assert.equal(spawnSync('mkfifo', [fifo]).status, 0);
    symlinkSync(loop, loop);
    for (const path of [fifo, '/dev/zero', directory]) {
      const { problems, entries } = await readAuthFile(path);
      assert.deepEqual(problems, [`auth file ${path}: it is not a regular file`]);
      assert.deepEqual(entries, []);
    }
    assert.deepEqual((await readAuthFile(loop)).problems, [`auth file ${loop}: ELOOP`]);
    assert.deepEqual((await readAuthFile(join(directory, 'missing'))).problems, []);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('any text is read', () => {
  const file = fc.record({
    auths: fc.dictionary(fc.string(), fc.oneof(fc.jsonValue(), fc.record({ auth: fc.base64String() }))),
    credHelpers: fc.jsonValue(),
    credsStore: fc.jsonValue(),
  });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json(),
        file.map((one) => JSON.stringify(one)),
      ),
      (text) => {
        for (const entry of parseAuthFile(text, '/auth.json').entries) readEntry(entry);
      },
    ),
  );
});
