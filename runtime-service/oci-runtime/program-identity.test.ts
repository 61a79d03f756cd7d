import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { RuntimeProgram } from './program-identity.ts';

const ELF = '\x7fELF';

function ground(t: TestContext, name: string, content: string) {
  const directory = mkdtempSync(join(tmpdir(), 'crisp-program-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, name);
  const install = (text: string) => {
    writeFileSync(`${path}.new`, text, { mode: 0o755 });
    renameSync(`${path}.new`, path);
  };
  install(content);
  const sealed: string[] = [];
  const seal = (_: string, program: Uint8Array) => {
    sealed.push(Buffer.from(program).toString('latin1'));
    return { path: `/copy/${sealed.length}` };
  };
  return { path, install, sealed, program: new RuntimeProgram(path, { seal }) };
}

test('crun is executed from a copy, made once', (t) => {
  const { path, program, sealed } = ground(t, 'crun', `${ELF} one`);
  assert.equal(program.executable, '/copy/1');
  assert.equal(program.executable, '/copy/1');
  assert.equal(program.path, path);
  assert.deepEqual(sealed, [`${ELF} one`]);
});

test('a program that was replaced is copied anew', (t) => {
  const { program, install, sealed } = ground(t, 'crun', `${ELF} one`);
  assert.equal(program.executable, '/copy/1');
  install(`${ELF} two`);
  assert.equal(program.executable, '/copy/2');
  assert.deepEqual(sealed, [`${ELF} one`, `${ELF} two`]);
});

test('one that is gone is NotFound, and found again when it is back', (t) => {
  const { path, program, install } = ground(t, 'crun', `${ELF} one`);
  assert.equal(program.executable, '/copy/1');
  renameSync(path, `${path}.away`);
  assert.throws(() => program.executable, { code: 'NotFound' });
  install(`${ELF} two`);
  assert.equal(program.executable, '/copy/2');
});

test('scripts and other runtimes are executed from their files', (t) => {
  const script = ground(t, 'crun-traced', '#!/bin/sh\n');
  assert.equal(script.program.executable, script.path);
  const runc = ground(t, 'runc', `${ELF} runc`);
  assert.equal(runc.program.executable, runc.path);
  assert.deepEqual([...script.sealed, ...runc.sealed], []);
});

test('where the kernel executes no copies the file is executed', (t) => {
  const { path } = ground(t, 'crun', `${ELF} one`);
  const refusing = new RuntimeProgram(path, {
    seal: () => {
      throw new Error('EACCES');
    },
  });
  assert.equal(refusing.executable, path);
  assert.equal(new RuntimeProgram(path, { seal: () => undefined }).executable, path);
});
