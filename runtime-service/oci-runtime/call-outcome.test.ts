import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { ended, isForgotten, isNotPaused } from './call-outcome.ts';

const id = 'a'.repeat(64);

test('what a runtime knows is read from its state, not from words that may be those of a hook', (t) => {
  const stateRoot = mkdtempSync(join(tmpdir(), 'runtime-end-'));
  t.after(() => rmSync(stateRoot, { recursive: true }));
  const hook = 'error executing hook: exec: "nft": executable file not found in $PATH';
  const runc = { stateRoot, program: '/usr/sbin/runc' };
  assert.equal(isForgotten(runc, id, 'container does not exist'), true);
  assert.equal(isForgotten({ stateRoot, program: '/usr/bin/crun-1.28' }, id, 'whatever'), true);
  mkdirSync(join(stateRoot, id));
  assert.equal(isForgotten(runc, id, hook), true, 'an empty directory is no container');
  for (const name of ['status', 'state.json']) {
    writeFileSync(join(stateRoot, id, name), '{}');
    assert.equal(isForgotten(runc, id, hook), false);
    assert.equal(isForgotten(runc, id, 'No such file or directory'), false);
    assert.equal(isForgotten(runc, id, 'container does not exist'), false);
    rmSync(join(stateRoot, id, name));
  }
});

test('runtimes that keep their state in other places are taken at their exact words', () => {
  const other = { stateRoot: '/nowhere', program: '/usr/bin/kata-runtime' };
  for (const words of [
    'container does not exist',
    `loading container: container "${id}" does not exist`,
    `Container ID (${id}) does not exist`,
  ])
    assert.equal(isForgotten(other, id, words), true, words);
  for (const words of ['hook not found', 'the file does not exist', 'container "other" does not exist', ''])
    assert.equal(isForgotten(other, id, words), false, words);
});

test('a container that is not paused needs no resume', () => {
  for (const words of [
    'container not paused',
    'container not running',
    `the container \`${id}\` is not paused`,
    `cannot resume: the container \`${id}\` is not running`,
  ])
    assert.equal(isNotPaused(id, words), true, words);
  for (const words of ['systemd is not running', 'freezer not found', 'a container not paused by us'])
    assert.equal(isNotPaused(id, words), false, words);
});

test('work whose deadline has passed is waited for, its late failure is dropped', async () => {
  const work = Promise.withResolvers<string>();
  let over = false;
  const call = ended<string>((run) =>
    Promise.race([run(work.promise), Promise.reject(new Error('late'))]),
  ).catch((error: Error) => {
    over = true;
    return error.message;
  });
  await turn();
  assert.equal(over, false);
  work.reject(new Error('killed'));
  assert.equal(await call, 'late');
});
