import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { spawnProcess } from '../process/spawn.ts';
import { bind, checkLibrary, optional } from './c-library.ts';
import { fcntl, waitpid } from './libc.ts';

const F_DUPFD = 0;
const FIRST = 50;

test('a function that the C library lacks is reported at the start, with the remedy', () => {
  assert.doesNotThrow(checkLibrary, 'this machine has all');
  assert.equal(optional('int crisp_has_no_such(int one)'), undefined);
  const absent = bind<(one: number) => number>('int crisp_has_no_such(int one)');
  for (const act of [checkLibrary, () => absent(1)]) {
    assert.throws(act, (error) => {
      assert.ok(hasCode(error, 'FailedPrecondition'));
      assert.match(error.message, /glibc [\d.]+.* crisp_has_no_such/);
      assert.match(error.hint, /glibc 2\.29/);
      return true;
    });
  }
});

test('without closefrom (glibc before 2.34) a child has no descriptor beyond those named either', () => {
  const directory = mkdtempSync(join(tmpdir(), 'crisp-spawn-'));
  const out = join(directory, 'out');
  const file = openSync(out, 'w');
  const strays = Array.from({ length: 3 }, () => fcntl(file, F_DUPFD, FIRST)); // without O_CLOEXEC
  try {
    const descriptors = new Map<number, number | 'null'>([
      [0, 'null'],
      [1, file],
      [2, 'null'],
    ]);
    const argv = ['sh', '-c', 'echo /proc/$$/fd/*'];
    const pid = spawnProcess({ program: '/bin/sh', argv, env: {}, descriptors }, { closeFrom: undefined });
    waitpid(pid, new Int32Array(1), 0);
    const seen = [...readFileSync(out, 'utf8').matchAll(/fd\/(\d+)/g)].map(([, number]) => Number(number));
    assert.deepEqual(
      strays.map((fd) => fd >= FIRST),
      [true, true, true],
    );
    assert.deepEqual(seen.slice(0, 3), [0, 1, 2]);
    assert.deepEqual(
      seen.filter((number) => number >= FIRST),
      [],
    );
  } finally {
    for (const fd of [...strays, file]) closeSync(fd);
    rmSync(directory, { recursive: true });
  }
});
