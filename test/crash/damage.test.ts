/**
 * What a power cut or a bad disk makes of the records: the daemon serves all the same, logs what it sets aside, keeps
 * what is whole, and new pods work.
 */
import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { Chances, rounds, SHARE } from './seed.ts';
import { CrashStand } from './stand.ts';
import { knownContainer, knownPod, removeAll, runOn, Way } from './way.ts';

const SUBNET = 73;
const RUNS = rounds(10);
const chances = new Chances();
const STORES = ['sandboxes', 'containers', 'images/images', 'images/layers'] as const;

const damages = {
  emptied: (record: string) => truncateSync(record),
  truncated: (record: string) => truncateSync(record, Math.floor(readFileSync(record).length / 2)),
  zeroed: (record: string) => writeFileSync(record, Buffer.alloc(readFileSync(record).length)),
  'of another shape': (record: string) => writeFileSync(record, '{"version":1,"id":7,"intents":"none"}'),
  'no object': (record: string) => writeFileSync(record, '[null]'),
  'of a future version': (record: string) =>
    writeFileSync(record, readFileSync(record, 'utf8').replace(/"version":\d+/, '"version":999')),
  // Under a name that is an id, and under one that is none.
  duplicated: (record: string) =>
    cpSync(dirname(record), join(dirname(record), '..', 'ab'.repeat(32)), { recursive: true }),
  copied: (record: string) => cpSync(dirname(record), `${dirname(record)}.bak`, { recursive: true }),
} as const;

const strays = {
  'an empty directory': (path: string) => mkdirSync(path, { recursive: true }),
  'a directory of junk': (path: string) => {
    mkdirSync(join(path, 'record.json/x'), { recursive: true });
  },
  'a file': (path: string) => writeFileSync(path, 'x'),
} as const;

type Damage = keyof typeof damages;
type Stray = keyof typeof strays;

const anyDamage = fc.record({
  store: fc.constantFrom(...STORES),
  damage: fc.constantFrom(...(Object.keys(damages) as Damage[])),
});
const anyStray = fc.record({
  store: fc.constantFrom(...STORES),
  stray: fc.constantFrom(...(Object.keys(strays) as Stray[])),
  name: fc.constantFrom('cd'.repeat(32), 'lost+found', '.x', 'x.removing', '__proto__', 'sha256:zz'),
});

async function running(stand: CrashStand, slot: number): Promise<Way> {
  const way = new Way(stand, slot);
  await way.pull();
  await way.runPod();
  await way.create('a');
  await way.start('a');
  return way;
}

/** Records of objects made before the damage, the whole one's left out. */
function recordsOf(stand: CrashStand, store: string, spared: readonly string[]): string[] {
  const records = globSync(join(stand.directory, 'root', store, '*/record.json'));
  return records.filter((path) => !spared.some((id) => path.includes(id)));
}

test('with damaged records the daemon serves, keeps what is whole, and makes new pods', async () => {
  const { seed } = chances;
  await using stand = await CrashStand.make(SUBNET);
  const property = fc.asyncProperty(
    fc.array(anyDamage, { minLength: 1, maxLength: 3 }),
    fc.array(anyStray, { maxLength: 2 }),
    async (some, others) => {
      await stand.start();
      const whole = await running(stand, 0);
      await running(stand, 1);
      const pod = await knownPod(stand, whole.pod ?? '');
      const container = await knownContainer(stand, pod.id, whole.containers.get('a') ?? '');
      await stand.daemon.kill();
      for (const { store, damage } of some) {
        const record = recordsOf(stand, store, [pod.id, container.id])[0];
        if (record) damages[damage](record);
      }
      for (const { store, stray, name } of others) {
        const path = join(stand.directory, 'root', store, name);
        if (!existsSync(path)) strays[stray](path);
      }
      await stand.start();
      await stand.recovered();
      await runOn(stand, [pod], [container], 'the whole pod');
      const next = await running(stand, 2);
      await next.exec('a');
      await whole.exec('a');
      await removeAll(stand);
      assert.deepEqual((await stand.daemon.client.ListPodSandbox({})).items, []);
      await stand.reset();
    },
  );
  await fc.assert(property, { numRuns: RUNS, seed, endOnFailure: true });
});

for (const [store, damage] of [
  ['sandboxes', 'emptied'],
  ['containers', 'truncated'],
  ['images/images', 'of a future version'],
  ['images/layers', 'emptied'],
] as const) {
  test(`a record in ${store} that is ${damage} is named in the log`, async () => {
    await using stand = await CrashStand.make(SUBNET);
    await stand.start();
    await running(stand, 0);
    await stand.daemon.stop(); // what is late is on the disk
    const record = recordsOf(stand, store, [])[0] ?? '';
    damages[damage](record);
    // A copy of this boot would stand in for it.
    rmSync(join(stand.directory, 'state/records'), { recursive: true });
    const before = readFileSync(stand.daemon.logFile, 'utf8').length;
    await stand.start();
    const output = readFileSync(stand.daemon.logFile, 'utf8').slice(before);
    const key = record.split('/').at(-2) ?? '';
    assert.ok(
      output.split('\n').some((line) => line.includes(key) && /"level":("warn"|"error"|[45]0)/.test(line)),
      output,
    );
    const next = await running(stand, 1);
    await next.exec('a');
    await stand.daemon.kill();
  });
}

const wholeGone = (record: string) => rmSync(dirname(record), { recursive: true });

/** Kills the daemon, damages the store's records and starts the next one. */
async function afterDamage(
  stand: CrashStand,
  store: 'sandboxes' | 'containers',
  damage: (record: string) => void,
): Promise<void> {
  await stand.daemon.stop(); // what is late is on the disk
  const records = recordsOf(stand, store, []);
  assert.notEqual(records.length, 0);
  for (const record of records) damage(record);
  await stand.start();
  await stand.recovered();
}

const losses = [
  ['emptied', damages.emptied],
  ['of another shape', damages['of another shape']],
  ['gone', wholeGone],
] as const;
const network = chances.next() < 0.5 ? 'auto' : 'exec';
const other = network === 'auto' ? 'exec' : 'auto';
/** Each loss with one network; with both in a deep run. */
const combined = [
  ...losses.map((loss, at) => [at === 1 ? other : network, ...loss] as const),
  ...(SHARE < 1 ? [] : losses.map((loss, at) => [at === 1 ? network : other, ...loss] as const)),
];

for (const [network, how, damage] of combined) {
  test(`a pod whose record is ${how} (network ${network}) is ended with all that remains of it, and its name is free`, async () => {
    await using stand = await CrashStand.make(SUBNET);
    await stand.start({}, network);
    const first = await running(stand, 0);
    await first.stopPod();
    await first.removePod();
    stand.rememberRules();
    const way = await running(stand, 0);
    await afterDamage(stand, 'sandboxes', damage);
    const { client } = stand.daemon;
    assert.deepEqual((await client.ListPodSandbox({})).items, []);
    assert.deepEqual((await client.ListContainers({})).containers, []);
    await stand.nothingLeft(how, { images: false });
    const before = way.pod;
    await way.runPod(); // the same name and attempt
    assert.notEqual(way.pod, before);
    await removeAll(stand);
    await stand.nothingLeft(how, { images: false });
  });
}

for (const [how, damage] of [
  ['truncated', damages.truncated],
  ['gone', wholeGone],
] as const) {
  test(`a container whose record is ${how} is ended with all that remains of it; its pod and its name can be used`, async () => {
    await using stand = await CrashStand.make(SUBNET);
    await stand.start();
    const way = await running(stand, 0);
    const pod = await knownPod(stand, way.pod ?? '');
    const lost = way.containers.get('a') ?? '';
    const group = `${stand.podGroup}/${way.pod}/${lost}`;
    assert.notEqual(stand.kernel.cgroups.processes(group).length, 0);
    await afterDamage(stand, 'containers', damage);
    assert.deepEqual((await stand.daemon.client.ListContainers({})).containers, []);
    assert.equal(stand.kernel.cgroups.exists(group), false);
    assert.deepEqual(globSync(join(stand.directory, `{root,state}/{containers,exits}/${lost}*`)), []);
    assert.deepEqual(globSync(join(stand.directory, `state/oci/*/${lost}`)), []);
    await runOn(stand, [pod], [], how);
    await way.create('a'); // the same name and attempt
    await way.start('a');
    await way.exec('a');
    await removeAll(stand);
  });
}

test('what cannot be read is kept for inspection, and the log names it', async () => {
  await using stand = await CrashStand.make(SUBNET);
  await stand.start();
  await running(stand, 0);
  await afterDamage(stand, 'containers', (record) => writeFileSync(record, 'no record'));
  const kept = globSync(join(stand.directory, 'root/unreadable/*'));
  assert.deepEqual(
    kept.map((path) => readFileSync(path, 'utf8')),
    ['no record'],
  );
  assert.ok(readFileSync(stand.daemon.logFile, 'utf8').includes(kept[0] ?? 'none'));
  await removeAll(stand);
});

test('a pod whose container cannot be read any more stops and is removed with all of its processes', async () => {
  await using stand = await CrashStand.make(SUBNET);
  await stand.start();
  const way = await running(stand, 0);
  const group = `${stand.podGroup}/${way.pod}`;
  await stand.daemon.stop();
  for (const record of recordsOf(stand, 'containers', [])) damages.emptied(record);
  await stand.start();
  assert.notEqual(stand.kernel.cgroups.processes(group).length, 0);
  await removeAll(stand);
  assert.deepEqual(stand.kernel.cgroups.processes(group), []);
  assert.equal(stand.kernel.cgroups.exists(group), false);
});
