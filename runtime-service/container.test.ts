import assert from 'node:assert/strict';
import test from 'node:test';
import { newSandboxId } from '#core/ids.ts';
import {
  type ContainerRecord,
  type ContainerState,
  containerKey,
  mayRun,
  nowNanoseconds,
} from './container.ts';

test('pod, name and attempt make the key', () => {
  const pod = newSandboxId();
  const key = containerKey(pod, { name: 'web', attempt: 0 });
  assert.equal(containerKey(pod, { name: 'web', attempt: 0 }), key);
  for (const other of [
    containerKey(pod, { name: 'web', attempt: 1 }),
    containerKey(pod, { name: 'web2', attempt: 0 }),
    containerKey(newSandboxId(), { name: 'web', attempt: 0 }),
  ]) {
    assert.notEqual(other, key);
  }
});

test('the key’s parts cannot run into each other: an attempt holds no slash', () => {
  const pod = newSandboxId();
  assert.notEqual(
    containerKey(pod, { name: 'a/1', attempt: 2 }),
    containerKey(pod, { name: 'a', attempt: 12 }),
  );
  assert.notEqual(
    containerKey(pod, { name: 'a/1', attempt: 2 }),
    containerKey(pod, { name: 'a', attempt: 1 }),
  );
});

test('processes may live in two of the five states', () => {
  const states: ContainerState[] = ['creating', 'created', 'starting', 'running', 'exited'];
  assert.deepEqual(
    states.filter((state) => mayRun({ state } as ContainerRecord)),
    ['starting', 'running'],
  );
});

test('the time is nanoseconds since the epoch', () => {
  const before = BigInt(Date.now());
  const now = nowNanoseconds();
  const after = BigInt(Date.now());
  assert.ok(now >= before * 1_000_000n && now <= after * 1_000_000n);
});
