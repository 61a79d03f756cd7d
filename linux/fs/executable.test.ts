import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { checkExecutableSync, isExecutable } from './executable.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-executable-'));
after(() => rmSync(directory, { recursive: true }));

test('a program is an executable regular file, also behind a link; a directory is none', async () => {
  const at = (name: string) => join(directory, name);
  writeFileSync(at('program'), '');
  chmodSync(at('program'), 0o755);
  writeFileSync(at('text'), '', { mode: 0o644 });
  mkdirSync(at('directory'), { mode: 0o755 });
  symlinkSync('program', at('link'));
  symlinkSync('directory', at('link-to-directory'));
  for (const [name, expected] of [
    ['program', true],
    ['link', true],
    ['text', false],
    ['directory', false],
    ['link-to-directory', false],
    ['missing', false],
  ] as const) {
    assert.equal(await isExecutable(at(name)), expected, name);
    if (expected) checkExecutableSync(at(name));
    else assert.throws(() => checkExecutableSync(at(name)), name);
  }
});
