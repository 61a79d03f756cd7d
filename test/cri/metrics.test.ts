/** What the daemon's own metrics say of pods, networks, containers and an earlier daemon. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { networkOf } from '../harness/daemon.ts';
import { busy, endsClean, POD, processesWith, refused, TestNode, until } from '../harness/pods.ts';
import { freePort } from '../image-service/registry.ts';

const ADDRESS = `127.0.0.1:${await freePort()}`;
const MIB = 1 << 20;
const long = (value: number) => fromBigInt(BigInt(value));
const node = await TestNode.start('metrics', { metrics: ADDRESS });
const networks = join(node.settings.directory, 'cni/net.d');

async function metrics(accept = '*/*'): Promise<string[]> {
  const response = await fetch(`http://${ADDRESS}/metrics`, { headers: { accept } });
  return (await response.text()).split('\n');
}

/** The value of a series; undefined where there is none. */
async function value(series: string): Promise<number | undefined> {
  const line = (await metrics()).find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

const cni = (plugin: string, operation: string, outcome: string, way: string) =>
  value(
    `crisp_cni_seconds_count{plugin="${plugin}",operation="${operation}",outcome="${outcome}",way="${way}"}`,
  );

/** A network that is taken before the one of the node, until the end of the scope. */
function network(...plugins: object[]): Disposable {
  const path = join(networks, '05-first.conflist');
  mkdirSync(networks, { recursive: true });
  writeFileSync(path, JSON.stringify({ cniVersion: '1.0.0', name: networkOf(8), plugins }));
  return { [Symbol.dispose]: () => rmSync(path) };
}

async function runAndRemove(): Promise<void> {
  const podSandboxId = await node.runPod({}, { network: POD });
  await node.client.StopPodSandbox({ podSandboxId });
  await node.client.RemovePodSandbox({ podSandboxId });
}

test('CNI operations are counted by plugin, also those that crisp makes itself', async () => {
  await runAndRemove();
  assert.deepEqual(
    [await cni('bridge', 'ADD', 'ok', 'native'), await cni('bridge', 'DEL', 'ok', 'native')],
    [1, 1],
  );
  const ipam = {
    type: 'host-local',
    dataDir: join(networks, '../ipam'),
    ranges: [[{ subnet: '10.234.8.0/24' }]],
  };
  {
    using _ptp = network({ type: 'ptp', dns: {}, ipam }); // a key that keeps it from being made in-process
    await until('the network is taken', async () => {
      await runAndRemove();
      return (await cni('ptp', 'DEL', 'ok', 'exec')) !== undefined;
    });
    assert.ok(((await cni('ptp', 'ADD', 'ok', 'exec')) ?? 0) >= 1);
  }
  using _missing = network({ type: 'nowhere' });
  await until('the network is taken', async () => {
    await runAndRemove().catch(() => {});
    return (await cni('nowhere', 'ADD', 'NetworkFailed', 'exec')) !== undefined;
  });
  await refused(node.runPod({}, { network: POD }), 'Internal', /nowhere/);
});

test('what the OOM killer ends is counted, and the exemplar names its log line', async () => {
  const pod = await node.runPod();
  assert.equal(await value('crisp_oom_kills_total'), 0);
  const limit = { memoryLimitInBytes: long(15 * MIB), memorySwapLimitInBytes: long(15 * MIB) };
  const command = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=20M'];
  const id = await node.run(pod, { command, resources: limit });
  await node.exited(id);
  assert.equal(await value('crisp_oom_kills_total'), 1);
  const lines = await metrics('application/openmetrics-text');
  const exemplar = lines.find((line) => line.startsWith('crisp_oom_kills_total 1 # {operation_id="'));
  const [, operation = ''] = /operation_id="(\w{12})"/.exec(exemplar ?? '') ?? [];
  const log = readFileSync(node.daemon.logFile, 'utf8').split('\n');
  const line = log.find((one) => one.includes(operation) && one.includes('OOM killer')) ?? '';
  assert.ok(operation !== '' && line.includes(id), `${exemplar}; ${line}`);
});

test('the exemplar of a pull is the id of its log line', async () => {
  const lines = await metrics('application/openmetrics-text');
  const exemplar = lines.find((line) => /^crisp_pull_seconds_bucket.*outcome="ok".* # /.test(line)) ?? '';
  const [, operation] = /operation_id="(\w{12})"/.exec(exemplar) ?? [];
  const log = readFileSync(node.daemon.logFile, 'utf8').split('\n');
  const line = log.find((one) => one.includes('"msg":"image pulled"')) ?? '{}';
  assert.equal((JSON.parse(line) as { id?: string }).id, operation);
});

test('layers have bytes, monitors a state; a new daemon counts what it has found', async () => {
  assert.ok(
    ((await value('crisp_layer_bytes{form="erofs"}')) ?? 0) +
      ((await value('crisp_layer_bytes{form="directory"}')) ?? 0) >
      MIB / 4,
  );
  const pod = await node.runPod();
  const [kept, lost] = [await node.run(pod, { command: busy }), await node.run(pod, { command: busy })];
  assert.deepEqual(
    [await value('crisp_monitors{state="running"}'), await value('crisp_monitors{state="gone"}')],
    [2, 0],
  );
  const [monitor = ''] = processesWith(lost).filter((line) => line.includes('conmon'));
  process.kill(Number(monitor.split(' ')[0]), 'SIGKILL');
  await until('the monitor is gone', async () => (await value('crisp_monitors{state="gone"}')) === 1);
  assert.equal(await value('crisp_monitors{state="running"}'), 1);
  assert.equal(await value('crisp_recovered{object="container",state="running"}'), undefined);
  await node.restart('kill');
  assert.equal(await value('crisp_recovered{object="container",state="running"}'), 2);
  assert.equal(await value('crisp_recovered{object="container",state="exited"}'), 1);
  await until('recovery is counted', () => value('crisp_operations_total{operation="recovery"}'));
  assert.equal((await node.status(kept)).state, 1);
});

endsClean(node);
