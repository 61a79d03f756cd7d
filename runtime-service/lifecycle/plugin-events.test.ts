import assert from 'node:assert/strict';
import test from 'node:test';
import { newContainerId } from '#core/ids.ts';
import type { ContainerRecord, ContainerState } from '../container.ts';
import type { RuntimeOptions } from '../options.ts';
import { type ContainerPlugins, noContainerPlugins } from '../ports.ts';
import { eventsOf, tellPlugins } from './plugin-events.ts';

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

test('an event that no plugin wants is not told, and reads no spec', () => {
  const id = newContainerId();
  const [told, reads]: [string[], string[]] = [[], []];
  const tell = (event: string) => () => void told.push(event);
  let change: (after?: ContainerRecord, before?: ContainerRecord) => void = () => {};
  const plugins: ContainerPlugins = {
    ...noContainerPlugins,
    listening: true,
    wants: (event) => event === 'stopped',
    created: tell('created'),
    started: tell('started'),
    stopped: tell('stopped'),
    removed: tell('removed'),
  };
  const asked = new Set([id]);
  tellPlugins({
    asked,
    plugins,
    options: {
      get state() {
        reads.push(told.join());
        return '/nonexistent';
      },
    } as RuntimeOptions,
    containers: {
      onChange(listener) {
        change = listener as typeof change;
        return () => {};
      },
    },
  });
  const record = (state: ContainerState) => ({ id, state }) as ContainerRecord;
  change(record('created'), record('creating'));
  change(record('running'), record('starting'));
  assert.deepEqual([told, reads, asked.size], [[], [], 0]);
  change(record('exited'), record('running'));
  change(undefined, record('exited'));
  assert.deepEqual(told, ['stopped']);
  assert.ok(reads.length > 0);
});
