/** stats, statsp, metricsp, events, update and runtime-config against a real daemon. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { UsageError } from '../../cli/command.ts';
import { ctl } from '../../cli/ctl.ts';
import { busy, endsClean, POD, TestNode, until } from '../harness/pods.ts';

const node = await TestNode.start('observe');
const pod = await node.runPod({ labels: { app: 'web' } }, { network: POD });
const id = await node.run(pod, {
  command: ['sh', '-c', 'head -c 2000000 /dev/zero > /x; while :; do :; done'],
});
const other = await node.run(pod, { command: busy });

interface Result {
  code: number;
  out: string;
  err: string;
}
async function crisp(words: string[], signal = new AbortController().signal): Promise<Result> {
  const result = { code: 0, out: '', err: '' };
  const terminal = {
    out: (text: string | Uint8Array) => {
      result.out += Buffer.from(text).toString();
    },
    err: (text: string | Uint8Array) => {
      result.err += Buffer.from(text).toString();
    },
    interactive: false,
  };
  result.code = await ctl(['-r', `unix://${node.daemon.socket}`, ...words], terminal, signal);
  return result;
}
async function ok(...words: string[]): Promise<string> {
  const { code, out, err } = await crisp(words);
  assert.deepEqual([code, err], [0, '']);
  return out;
}
const rows = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => line.split(/ {2,}/));

test('stats: a row for each running container, with its share of the CPU', async () => {
  const [head, ...body] = rows(await ok('stats'));
  assert.deepEqual(head, ['CONTAINER', 'NAME', 'CPU %', 'MEM', 'SWAP', 'DISK', 'INODES']);
  assert.equal(body.length, 2);
  const working = body.find(([short]) => id.startsWith(short ?? '-')) ?? [];
  const idle = body.find(([short]) => other.startsWith(short ?? '-')) ?? [];
  assert.ok(Number(working[2]) > Number(idle[2]), `${working[2]} ${idle[2]}`);
  assert.match(working[5] ?? '', /\d[kM]?B$/);
  const { stats } = JSON.parse(await ok('stats', '-o', 'json', '-s', '0', id.slice(0, 10)));
  assert.deepEqual([stats.length, stats[0].attributes.id], [1, id]);
  assert.equal(rows(await ok('stats', '-s', '0')).at(1)?.[2], '-', 'one sample has no CPU share');
  await assert.rejects(crisp(['stats', 'none']), UsageError);
});

test('statsp: pods with their traffic and processes', async () => {
  const [head, ...body] = rows(await ok('statsp', '-s', '0', '--label', 'app=web'));
  assert.deepEqual(head?.slice(0, 3), ['POD ID', 'POD', 'CPU %']);
  assert.equal(body.length, 1);
  assert.ok(pod.startsWith(body[0]?.[0] ?? '-'));
  assert.equal(body[0]?.at(-1), '3');
  await assert.rejects(crisp(['statsp', 'none']), UsageError);
});

test('metricsp: values, and with -d the descriptors', async () => {
  const { podMetrics } = JSON.parse(await ok('metricsp'));
  assert.equal(podMetrics[0].podSandboxId, pod);
  const { descriptors } = JSON.parse(await ok('metricsp', '-d'));
  assert.ok(descriptors.some(({ name }: { name: string }) => name === 'container_cpu_usage_seconds_total'));
});

test('update: limits by flag; invalid flags are refused before any request', async () => {
  assert.equal(await ok('update', '--memory', '64MiB', '--cpu-quota', '50000', id), `${id}\n`);
  const { resources } = await node.status(id);
  assert.deepEqual(
    [resources?.linux?.memoryLimitInBytes.toString(), resources?.linux?.cpuQuota.toString()],
    [String(64 << 20), '50000'],
  );
  await assert.rejects(crisp(['update', '--memory', 'much', id]), UsageError);
  await assert.rejects(crisp(['update', '--cpu-quota', '1.5', id]), UsageError);
  const low = await crisp(['update', '--memory', '1KiB', id, 'none']);
  assert.equal(low.code, 1);
  assert.match(low.err, /below the \d+ bytes/);
  assert.match(low.err, /none: no object has this id/);
});

test('runtime-config: the driver; with a range it is set', async () => {
  assert.deepEqual(JSON.parse(await ok('runtime-config')), { linux: { cgroupDriver: 'CGROUPFS' } });
  assert.equal(await ok('runtime-config', '--pod-cidr', '10.1.0.0/24'), '');
  await assert.rejects(crisp(['runtime-config', '--pod-cidr', 'x']), /pod_cidr/);
});

test('events are followed until interrupted, as text or as JSON', async () => {
  for (const format of ['text', 'json']) {
    const interrupt = new AbortController();
    const written: string[] = [];
    const terminal = {
      out: (text: string | Uint8Array) => void written.push(Buffer.from(text).toString()),
      err: () => {},
      interactive: false,
    };
    const words = ['-r', `unix://${node.daemon.socket}`, 'events', '--no-trunc', '-o', format];
    const following = ctl(words, terminal, interrupt.signal);
    await until('an event is printed', async () => {
      await node.remove(await node.create(pod));
      return written.length >= 2;
    });
    interrupt.abort();
    assert.equal(await following, 0);
    const first = written[0] ?? '';
    if (format === 'json') assert.equal(JSON.parse(first).podSandboxStatus.id, pod);
    else
      assert.match(first, /^\d{4}-\S+Z {2}container {2}(created|deleted) {2}[0-9a-f]{64} {2}default\/pod-/);
  }
});

endsClean(node);
