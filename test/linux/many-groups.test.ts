/** The stats of 250 pods with a container each, in one pass: what of it the main thread does in one turn of its loop. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { groupFiles } from '#linux/cgroup/stats.ts';
import { openKernel } from '#linux/index.ts';
import { RealUsage } from '#linux/worker/stats.ts';
import { NamespaceWorker } from '#linux/worker/thread.ts';

const PODS = 250;
/** Files in one message of the thread. */
const MESSAGE = 1024;

const kernel = await openKernel();
const thread = new NamespaceWorker();
const group = `${process.env['CRISP_TEST_CGROUP'] ?? '/crisp-test'}-many`;
const paths = Array.from({ length: PODS }, (_, at) => [`${group}/${at}`, `${group}/${at}/ctr`]).flat();
for (const path of paths) await kernel.cgroups.create(path);
const child = await kernel.processes.spawn({ argv: ['sleep', '1000'], env: { PATH: '/usr/bin:/bin' } });
await kernel.cgroups.join(`${group}/7/ctr`, child.process.pid);

after(async () => {
  const soon = () => AbortSignal.timeout(60_000);
  await kernel.cgroups.kill(group, soon());
  await child.exited;
  for (const path of [...paths.toReversed(), group]) await kernel.cgroups.remove(path, soon());
  await thread[Symbol.asyncDispose]();
  await kernel.close();
});

/** The turn of the loop that runs now. */
let turn = 0;
const spin = (): void => {
  turn++;
  timer = setImmediate(spin);
};
let timer = setImmediate(spin);
after(() => clearImmediate(timer));

/** Texts that the main thread has read, by the turn in which it did. */
const reads = new Map<number, number>();
const counted = <T>(result: T): T => {
  if (!Array.isArray(result)) return result;
  return new Proxy(result, {
    get(target, key) {
      const item: unknown = Reflect.get(target, key);
      if (typeof item !== 'string') return counted(item);
      reads.set(turn, (reads.get(turn) ?? 0) + 1);
      return item;
    },
  }) as T;
};
let messages = 0;
const usage = new RealUsage(
  {
    request: async (request) => {
      messages++;
      const result = await thread.request(request);
      // Two results may arrive in one turn by chance: their effects must be counted apart.
      await nextTurn();
      return counted(result);
    },
  },
  kernel.cgroups,
);

test('all groups of 250 pods: stats of each, and in each turn of the loop those of one message', async () => {
  const firstTurn = turn;
  const [groups, links, limits, processes] = await Promise.all([
    usage.groups(paths, 'metrics'),
    usage.links(Array.from({ length: PODS }, () => child.process)),
    usage.openFiles(Array.from({ length: PODS }, () => child.process)),
    usage.processes(paths, true),
  ]);
  assert.equal(groups.length, 2 * PODS);
  assert.ok(groups.every((stats) => stats?.memory !== undefined || stats?.cpu !== undefined));
  assert.ok(links.every((found) => found.some(({ name }) => name === 'lo')));
  assert.ok(limits.every((limit) => limit !== undefined));
  const occupied = processes.flatMap(({ processes: count }, at) => (count > 0 ? [paths[at]] : []));
  assert.deepEqual(occupied, [`${group}/7`, `${group}/7/ctr`]);
  const least = (groups.length * groupFiles(kernel.cgroups.version, 'metrics').length) / (2 * MESSAGE);
  assert.ok(messages > least, `${messages} messages`);
  assert.ok(turn - firstTurn >= messages, `${turn - firstTurn} turns for ${messages} messages`);
  assert.ok(reads.size > least, `texts were read in ${reads.size} turns`);
  const most = Math.max(...reads.values());
  assert.ok(most <= MESSAGE, `${most} texts in one turn`);
});
