import assert from 'node:assert/strict';
import test from 'node:test';
import type { ContainerRecord, ContainerState } from '../container.ts';
import { eventsOf } from './plugin-events.ts';

const of = (state: ContainerState) => ({ state }) as ContainerRecord;

test('each change of a record is its events: a container stops once, before it is removed', () => {
  const life: (ContainerState | undefined)[] = [
    undefined,
    'creating',
    'creating',
    'created',
    'created',
    'starting',
    'running',
    'running',
    'exited',
    'exited',
    undefined,
  ];
  const record = (state: ContainerState | undefined) => (state ? of(state) : undefined);
  const told = life.slice(1).flatMap((state, at) => eventsOf(record(state), record(life[at])));
  assert.deepEqual(told, ['created', 'started', 'stopped', 'removed']);
  assert.deepEqual(eventsOf(undefined, of('created')), ['stopped', 'removed']);
  assert.deepEqual(eventsOf(undefined, of('creating')), ['stopped', 'removed']);
  assert.deepEqual(eventsOf(of('exited'), of('starting')), ['stopped']);
  assert.deepEqual(eventsOf(of('exited'), of('created')), ['stopped']);
});
