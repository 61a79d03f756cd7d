/** Many pods and many commands leave the daemon as it was: descriptors, threads, memory, children, mounts. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test, { type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { rounds } from './seed.ts';
import { CrashStand } from './stand.ts';
import { Way } from './way.ts';

const SUBNET = 74;
const PODS = rounds(50);
const EXECS = rounds(1000);
/** What a heap may grow by before it is collected: about 100 KiB for a command, were it lost. */
const GROWTH_BYTES = 32 << 20;
const SETTLE_MS = 20_000;

interface Footprint {
  readonly descriptors: number;
  readonly threads: number;
  readonly resident: number;
  readonly zombies: readonly string[];
  readonly children: number;
  readonly mounts: readonly string[];
}

function statusOf(pid: string): { parent: number; state: string; name: string } {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state = '', parent = ''] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { parent: Number(parent), state, name: text.slice(text.indexOf('('), text.lastIndexOf(')') + 1) };
  } catch {
    return { parent: 0, state: '', name: '' }; // has ended
  }
}

function footprint(pid: number): Footprint {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((child) => ({ child, ...statusOf(child) }))
    .filter(({ parent }) => parent === pid);
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: field('Threads'),
    resident: field('VmRSS') * 1024,
    zombies: children.filter(({ state }) => state === 'Z').map(({ child, name }) => `${child} ${name}`),
    children: children.length,
    // The ids of mounts count up; what is mounted where is the same.
    mounts: readFileSync(`/proc/${pid}/mountinfo`)
      .toString()
      .split('\n')
      .map((line) => line.split(' ').slice(2).join(' ')),
  };
}

async function onePod(stand: CrashStand): Promise<void> {
  const way = new Way(stand);
  await way.runPod();
  await way.create('a');
  await way.start('a');
  await way.stop('a');
  await way.remove('a');
  await way.stopPod();
  await way.removePod();
}

/** Sockets and workers close behind the answer: the comparison is repeated until it holds or the time is over. */
async function sameAgain(before: Footprint, pid: number, context: TestContext): Promise<void> {
  const limit = Date.now() + SETTLE_MS;
  const differs = (now: Footprint) =>
    now.descriptors > before.descriptors || now.threads > before.threads || now.children > before.children;
  while (differs(footprint(pid)) && Date.now() < limit) await sleep(100);
  const now = footprint(pid);
  context.diagnostic(
    `descriptors ${before.descriptors} → ${now.descriptors}, threads ${before.threads} → ${now.threads}, ` +
      `MiB ${before.resident >> 20} → ${now.resident >> 20}`,
  );
  assert.ok(now.descriptors <= before.descriptors, `descriptors: ${before.descriptors} → ${now.descriptors}`);
  assert.ok(now.threads <= before.threads, `threads: ${before.threads} → ${now.threads}`);
  assert.ok(now.children <= before.children, `children: ${before.children} → ${now.children}`);
  assert.deepEqual(now.zombies, []);
  assert.deepEqual(now.mounts, before.mounts);
  assert.ok(now.resident - before.resident < GROWTH_BYTES, `resident: ${before.resident} → ${now.resident}`);
}

test(`${PODS} pods in a row leave the daemon as it was`, async (context) => {
  await using stand = await CrashStand.make(SUBNET);
  const { pid } = await stand.start();
  await new Way(stand).pull();
  for (let n = 0; n < 5; n++) await onePod(stand); // workers and caches are there afterwards
  stand.rememberRules();
  const before = footprint(pid);
  for (let n = 0; n < PODS; n++) await onePod(stand);
  await sameAgain(before, pid, context);
  await stand.nothingLeft('pods in a row', { images: false });
});

test(`${EXECS} commands leave the daemon and the container as they were`, async (context) => {
  await using stand = await CrashStand.make(SUBNET);
  const { pid } = await stand.start();
  const way = new Way(stand);
  await way.pull();
  await way.runPod();
  await way.create('a');
  await way.start('a');
  for (let n = 0; n < 20; n++) await way.exec('a');
  const group = `${stand.podGroup}/${way.pod}/${way.containers.get('a')}`;
  const inside = stand.kernel.cgroups.processes(group).length;
  const before = footprint(pid);
  for (let n = 0; n < EXECS; n++) await way.exec('a');
  await sameAgain(before, pid, context);
  assert.equal(stand.kernel.cgroups.processes(group).length, inside);
});
