/**
 * The power is cut after every single step of every kind of record on a model of all that a file system may do with what was not
 * synced, and after a sample of the steps on real file systems of three kinds. The next daemon finds a version that is permitted there.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { KeyedQueue } from '#core/single-flight.ts';
import { type CarryOut, makeFiles } from '#linux/fs/files.ts';
import { KINDS, type Kind, LoopDisk, obstacle } from './loop-disk.ts';
import { type Ground, LIVES, type Life, Permitted } from './record-lives.ts';
import { Chances, SHARE } from './seed.ts';
import { type Order, UnsyncedDisk } from './unsynced.ts';

const base = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'power-'));
after(() => {
  spawnSync('umount', ['-l', disks]);
  rmSync(base, { recursive: true, force: true });
});
/** On a tmpfs: a machine's own disk takes its time for each fsync of a disk in a file on it. */
const disks = join(base, 'disks');
mkdirSync(disks);
spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4g', 'disks', disks]);
const chances = new Chances();
/** Cuts by record and column. */
const table = new Map<string, Map<string, number>>();
const COLUMNS = [...KINDS, 'in order', 'any order'] as const;

function count(life: string, column: string, cuts: number): void {
  const row = table.get(life) ?? new Map<string, number>();
  table.set(life, row);
  row.set(column, (row.get(column) ?? 0) + cuts);
}

/** Carries out a life; `look` is called behind each of its steps and wherever what is permitted changes. */
async function carryOut(
  life: Life,
  root: string,
  watch: {
    step?: (step: Parameters<CarryOut>[0]) => void;
    look: (permitted: readonly string[]) => Promise<void>;
  },
): Promise<void> {
  // One step at a time, what is late among them: a cut falls between two.
  const turns = new KeyedQueue<'step'>();
  const permitted: Permitted = new Permitted(() => turns.run('step', () => watch.look(permitted.now)));
  const files = makeFiles((step, act) =>
    turns.run('step', async () => {
      const outcome = await act();
      watch.step?.(step);
      await watch.look(permitted.now);
      return outcome;
    }),
  );
  const ground: Ground = { files, root, state: mkdtempSync(join(base, 'state-')), permitted };
  await life.live(ground);
}

const judge = (found: string, permitted: readonly string[], where: string): void =>
  assert.ok(permitted.includes(found), `${where}: found ${found}, permitted ${permitted.join(', ')}`);

async function onModel(life: Life, order: Order): Promise<void> {
  const root = mkdtempSync(join(base, 'model-'));
  const disk = new UnsyncedDisk(root);
  let steps = 0;
  let last = '';
  let states = 0;
  await carryOut(life, root, {
    step(step) {
      steps++;
      last = `${step.kind} ${step.path.slice(root.length)}`;
      disk.apply(step);
    },
    async look(permitted) {
      const place = () => join(base, `state-${life.name}-${states}`);
      for (const state of disk.states(order, place)) {
        states++;
        const found = await life.look(state, base).catch((error: unknown) => `ERROR ${error}`);
        judge(found, permitted, `${life.name}, ${order}, behind step ${steps} (${last})`);
        rmSync(state, { recursive: true });
      }
    },
  });
  count(life.name, order, states);
}

for (const life of LIVES) {
  for (const order of ['in order', 'any order'] as const) {
    test(`${life.name}: every choice of un-synced writes, names ${order}, leaves a permitted version`, () =>
      onModel(life, order));
  }
}

async function onDisk(kind: Kind): Promise<void> {
  const disk = new LoopDisk(kind, join(disks, kind));
  const cuts: { life: Life; copy: string; permitted: readonly string[]; where: string }[] = [];
  try {
    for (const { name } of LIVES) mkdirSync(join(disk.root, name));
    disk.sync();
    let copy = disk.cut() ?? '';
    for (const life of LIVES) {
      const root = join(disk.root, life.name);
      await carryOut(life, root, {
        async look(permitted) {
          for (const where of ['', ', behind a stranger’s fsync']) {
            if (chances.next() >= SHARE) continue;
            if (where !== '') disk.strangersSync();
            copy = disk.cut() ?? copy;
            cuts.push({ life, copy, permitted, where });
          }
        },
      });
    }
    disk.unmount();
    await judgeCuts(disk, kind, cuts);
  } finally {
    disk.remove();
  }
}

async function judgeCuts(
  disk: LoopDisk,
  kind: Kind,
  cuts: readonly { life: Life; copy: string; permitted: readonly string[]; where: string }[],
): Promise<void> {
  const found = new Map<string, string>();
  for (const { life, copy, permitted, where } of cuts) {
    const key = `${life.name} ${copy}`;
    if (!found.has(key)) {
      const root = mkdtempSync(join(base, 'found-'));
      disk.recover(copy, life.name, root);
      found.set(key, await life.look(root, base).catch((error: unknown) => `ERROR ${error}`));
      rmSync(root, { recursive: true });
    }
    judge(found.get(key) ?? '', permitted, `${life.name} on ${kind}, ${copy}${where}`);
    count(life.name, kind, 1);
  }
}

for (const kind of KINDS) {
  const why = obstacle(kind, disks);
  test(
    `a power cut on ${kind} behind any step, also behind a stranger’s fsync, leaves a permitted version`,
    {
      skip: why ?? false,
    },
    () => chances.at(kind, () => onDisk(kind)),
  );
}

test('every record has been cut everywhere', () => {
  console.log(`# power cuts that left a permitted version; the last two columns: states of the model`);
  console.log(`# ${'record'.padEnd(12)}${COLUMNS.map((name) => name.padStart(12)).join('')}`);
  for (const [life, row] of table)
    console.log(
      `# ${life.padEnd(12)}${COLUMNS.map((name) => String(row.get(name) ?? '-').padStart(12)).join('')}`,
    );
  assert.deepEqual([...table.keys()].sort(), LIVES.map(({ name }) => name).sort());
});
