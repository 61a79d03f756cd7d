import assert from 'node:assert/strict';
import test from 'node:test';
import type { DaemonStatus } from '#api/admin/contract.ts';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { type Replies, sampleOf } from './sample.ts';
import { topLines } from './view.ts';

const SECOND = 1_000_000_000n;
const value = (count: bigint) => ({ value: fromBigInt(count) });
const usage = (id: string, name: string, at: bigint, cpu: bigint, memory: bigint) => ({
  attributes: { id, metadata: { name } },
  cpu: { timestamp: fromBigInt(at), usageCoreNanoSeconds: value(cpu) },
  memory: { workingSetBytes: value(memory) },
});
const container = (id: string, name: string, attempt: number, state: number) =>
  cri.Container.create({ id, podSandboxId: 'p1', metadata: { name, attempt }, state });

/** A pod that has used `cpu` ns at `at`: one container runs, another one fails again and again. */
const replies = (at: bigint, cpu: bigint): Replies => ({
  daemon: undefined,
  stats: [
    cri.PodSandboxStats.create({
      attributes: { id: 'p1', metadata: { name: 'web', namespace: 'shop' } },
      linux: {
        ...usage('p1', 'web', at, cpu, 30_000_000n),
        process: { processCount: value(4n) },
        containers: [usage('c2', 'main', at, cpu / 2n, 20_000_000n)],
      },
    }),
    cri.PodSandboxStats.create({ attributes: { id: 'p2', metadata: { name: 'idle', namespace: 'shop' } } }),
  ],
  containers: [
    container('c1', 'main', 0, cri.ContainerState.CONTAINER_EXITED),
    container('c2', 'main', 1, cri.ContainerState.CONTAINER_RUNNING),
    container('c9', 'broken', 7, cri.ContainerState.CONTAINER_EXITED),
  ],
});
const sample = sampleOf(replies(SECOND, SECOND), replies(3n * SECOND, 2n * SECOND));
const rows = (lines: readonly string[]) => lines.slice(4).map((line) => line.split(/ {4,}/));

test('CPU is measured between two samples; the newest container of a name counts', () => {
  const [pod, idle] = sample.pods;
  assert.deepEqual(
    [pod?.cpuPercent, pod?.memoryBytes, pod?.processes, pod?.restarts],
    [50, 30_000_000, 4, 8],
  );
  assert.deepEqual(
    pod?.containers.map(({ id, state, cpuPercent, restarts }) => [id, state, cpuPercent, restarts]),
    [
      ['c2', 'running', 25, 1],
      ['c9', 'exited', undefined, 7],
    ],
  );
  assert.deepEqual([idle?.cpuPercent, idle?.memoryBytes, idle?.restarts], [undefined, undefined, 0]);
});

test('without an earlier sample, and after a counter went back, there is no CPU', () => {
  assert.equal(sampleOf(undefined, replies(SECOND, SECOND)).pods[0]?.cpuPercent, undefined);
  const back = sampleOf(replies(SECOND, 2n * SECOND), replies(2n * SECOND, SECOND));
  assert.equal(back.pods[0]?.cpuPercent, undefined);
});

test('lines: the daemon, the sums, then pods with their containers', () => {
  const lines = topLines(sample, { sort: 'cpu', podsOnly: false });
  assert.equal(lines[0], 'Daemon: no reply from the admin socket');
  assert.equal(lines[1], 'Pods: 2 ready, containers: 1 running, 1 not, CPU 50.0 %, memory 30MB, 4 processes');
  assert.deepEqual(rows(lines), [
    ['50.0', '30MB', '4', '8', 'shop/web', 'ready', 'p1'],
    ['25.0', '20MB', '-', '1', 'main', 'running', 'c2'],
    ['-', '-', '-', '7', 'broken', 'exited', 'c9'],
    ['-', '-', '-', '0', 'shop/idle', 'ready', 'p2'],
  ]);
  assert.equal((lines[5] ?? '').indexOf('main') - (lines[4] ?? '').indexOf('shop/'), 2, 'indented');
});

test('rows can be sorted by any column, and containers left out', () => {
  const names = (sort: 'name' | 'restarts' | 'memory', podsOnly: boolean) =>
    rows(topLines(sample, { sort, podsOnly })).map((row) => row.at(4)?.trim());
  assert.deepEqual(names('name', true), ['shop/idle', 'shop/web']);
  assert.deepEqual(names('memory', true), ['shop/web', 'shop/idle']);
  assert.deepEqual(names('restarts', false), ['shop/web', 'broken', 'main', 'shop/idle']);
});

test('the line of the daemon; control characters of a reply do not reach the terminal', () => {
  const daemon = {
    version: '1\u001b[2J',
    pid: 7,
    uptimeSeconds: 65,
    unready: 'no network',
    operations: [],
    pulls: [],
    troubles: [{ reason: 'x', message: '', hint: '' }],
    memory: { rssBytes: 62_000_000, heapBytes: 1 },
  } as unknown as DaemonStatus;
  const [pod] = replies(SECOND, SECOND).stats;
  const hostile = cri.PodSandboxStats.create({
    ...pod,
    attributes: { id: 'p1', metadata: { name: 'a\nb', namespace: '\u0007' } },
  });
  const shown = sampleOf(undefined, { daemon, stats: [hostile], containers: [] });
  const lines = topLines(shown, { sort: 'cpu', podsOnly: false });
  assert.equal(
    lines[0],
    'Daemon: crisp 1\\x1b[2J, pid 7, up 1 min 5 s, not ready: see crisp status, 1 troubles: see crisp status, 0 calls, 0 pulls, 62MB',
  );
  for (const line of lines) assert.doesNotMatch(line, /\p{Cc}/u);
  assert.equal(lines.length, 5);
});
