import assert from 'node:assert/strict';
import test from 'node:test';
import type { ContainerId } from '#core/ids.ts';
import { ExecBarrier } from './exec-barrier.ts';

const id = 'ab'.repeat(32) as ContainerId;
const process = { pid: 7, startTime: '1', bootId: 'b' };

/** A process whose program is the next of a list at each poll. */
function steps(...programs: (string | undefined)[]) {
  const looks: (string | undefined)[] = [];
  const executable = () => {
    const program = programs.length > 1 ? programs.shift() : programs[0];
    looks.push(program);
    return program;
  };
  return { looks, first: new ExecBarrier({ executable }) };
}

test('the start waits until the OCI runtime has executed the user’s program', async () => {
  const { looks, first } = steps('/memfd:crun', '/memfd:crun', '/memfd:crun', '/bin/sh');
  first.begin(id, process);
  await first.passed(id);
  assert.deepEqual(looks, ['/memfd:crun', '/memfd:crun', '/memfd:crun', '/bin/sh']);
  await first.passed(id);
  assert.equal(looks.length, 4, 'it is looked at no more');
});

test('a process that is gone, and one that another daemon has started, are not waited for', async () => {
  const gone = steps('/runc', undefined);
  gone.first.begin(id, process);
  await gone.first.passed(id);
  assert.equal(gone.looks.length, 2);
  const unknown = steps('/runc');
  await unknown.first.passed(id);
  assert.equal(unknown.looks.length, 0);
  const dead = steps(undefined);
  dead.first.begin(id, process);
  await dead.first.passed(id);
  assert.equal(dead.looks.length, 1);
});

test('what is forgotten is not waited for', async () => {
  const { looks, first } = steps('/runc');
  first.begin(id, process);
  first.forget(id);
  await first.passed(id);
  assert.equal(looks.length, 1);
});
