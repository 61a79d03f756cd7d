import assert from 'node:assert/strict';
import test from 'node:test';
import { newSandboxId } from '#core/ids.ts';
import type { Cgroups } from '#linux/ports/kernel.ts';
import { sampleConfig } from '#test/fixtures/sandbox-config.ts';
import { CgroupfsDriver } from '../cgroup/cgroupfs.ts';
import type { Context } from '../context.ts';
import { type SandboxRecord, toNotReady, toReady, withIntents, withProcess } from '../sandbox.ts';
import { plan } from './plan.ts';
import { podOf, podsThatWereReady } from './plugin-events.ts';

const kernel = { processes: { bootId: 'boot', alive: () => true } } as unknown as Context['kernel'];

function creating(): SandboxRecord {
  const cgroups = new CgroupfsDriver({} as Cgroups, '/crisp');
  const { record } = plan(
    { state: '/run/crisp', cgroups, kernel },
    newSandboxId(),
    { config: sampleConfig(), runtimeHandler: '' },
    { networks: [] },
  );
  return withProcess(record, { pid: 7, startTime: '1', bootId: 'boot' }, { net: '/ns/net', ipc: '/ns/ipc' });
}

test('a plugin that comes later is told of each pod that has been ready, until it is removed', () => {
  const [made, failed] = [creating(), toNotReady(creating(), 'stopped', 'x')];
  const ready = toReady(creating(), []);
  const stopped = toNotReady(toReady(creating(), []), 'stopped', 'x');
  const dead = toNotReady(toReady(creating(), []), 'dead', 'x');
  const list = () => [made, ready, failed, stopped, dead];
  const context = { kernel, sandboxes: { list } } as unknown as Context;
  assert.deepEqual(
    podsThatWereReady(context).map(({ id }) => id),
    [ready.id, stopped.id, dead.id],
  );
});

test('namespaces are those that are pinned: while the pod is stopped, not after that', () => {
  const stopping = toNotReady(toReady(creating(), []), 'stopped', 'x');
  assert.deepEqual(podOf({ kernel }, stopping).namespaces, [
    { type: 'network', path: '/ns/net' },
    { type: 'ipc', path: '/ns/ipc' },
  ]);
  assert.deepEqual(podOf({ kernel }, withIntents(stopping, [])).namespaces, []);
});
