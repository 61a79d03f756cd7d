import assert from 'node:assert/strict';
import test from 'node:test';
import { Operation } from '#core/operation.ts';
import { Traces } from './traces.ts';

const PODS: Readonly<Record<string, string>> = { c1: 'p1', p1: 'p1', p2: 'p2' };
const open = () => new Traces(({ podSandboxId, containerId }) => PODS[podSandboxId ?? containerId ?? '']);

async function follow(
  traces: Traces,
  name: string,
  request: object,
  reply: object,
  stages = 1,
): Promise<void> {
  const op = new Operation(name);
  await traces.follow(op, request, async () => {
    for (let n = 0; n < stages; n++) await op.stage(`stage ${n}`, () => {});
    return reply;
  });
}

test('an operation is kept under its pod, found by the reply, the pod or the container', async () => {
  const traces = open();
  await follow(traces, 'RunPodSandbox', { config: {} }, { podSandboxId: 'p1' });
  await follow(traces, 'CreateContainer', { podSandboxId: 'p1' }, { containerId: 'c1' });
  await follow(traces, 'StartContainer', { containerId: 'c1' }, {});
  await follow(traces, 'RunPodSandbox', {}, { podSandboxId: 'p2' });
  assert.deepEqual(
    traces.of('p1').map(({ name, containerId, stages }) => [name, containerId, stages.length]),
    [
      ['RunPodSandbox', '', 1],
      ['CreateContainer', 'c1', 1],
      ['StartContainer', 'c1', 1],
    ],
  );
});

test('a failure is kept with its stages, and stays the failure of the call', async () => {
  const traces = open();
  const op = new Operation('StartContainer');
  const failing = traces.follow(op, { containerId: 'c1' }, () =>
    op.stage('OCI create', () => Promise.reject(new Error('no'))),
  );
  await assert.rejects(failing, /^Error: no$/);
  const [kept] = traces.of('p1');
  assert.deepEqual(
    [kept?.failed, kept?.stages.map(({ name, failed }) => [name, failed])],
    [true, [['OCI create', true]]],
  );
});

test('reads, probes and operations without a pod are not kept', async () => {
  const traces = open();
  await follow(traces, 'ExecSync', { containerId: 'c1' }, {});
  await follow(traces, 'PodSandboxStatus', { podSandboxId: 'p1' }, {});
  await follow(traces, 'StopContainer', { containerId: 'unknown' }, {});
  assert.deepEqual([...traces.of('p1'), ...traces.of('')], []);
});

test('only a fixed number is kept, the latest', async () => {
  const traces = open();
  await follow(traces, 'RunPodSandbox', {}, { podSandboxId: 'p1' });
  for (let n = 0; n < 600; n++)
    await follow(traces, 'StopContainer', { containerId: 'c1' }, {}, n === 0 ? 500 : 1);
  assert.ok(traces.of('p1').length <= 512);
  assert.ok(traces.of('p1').every(({ name, stages }) => name === 'StopContainer' && stages.length <= 64));
});
