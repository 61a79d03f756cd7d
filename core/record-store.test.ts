import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import fc from 'fast-check';
import { files } from '#linux/fs/files.ts';
import { CrispError } from './errors.ts';
import { decode, encode } from './json-record.ts';
import { RecordStore, type RecordStoreOptions, type Versioned } from './record-store.ts';

interface Pod extends Versioned {
  readonly name: string;
  readonly at: bigint;
}

const pod = (name: string, at = 1n): Pod => ({ version: 2, name, at });

async function store(t: TestContext, options: Partial<RecordStoreOptions<Pod>> = {}) {
  const directory = join(await mkdtemp(join(tmpdir(), 'crisp-records-')), 'pods');
  t.after(() => rm(join(directory, '..'), { recursive: true }));
  return { directory, pods: new RecordStore<Pod>({ directory, version: 2, files, ...options }) };
}

test('records are written, replaced, loaded, and belong to root alone', async (t) => {
  const { directory, pods } = await store(t);
  assert.equal((await pods.load()).records.size, 0);
  await pods.create('a', pod('first'), { durable: true });
  await pods.create('b', pod('other', 2n ** 63n - 1n), { durable: false });
  await pods.write('a', pod('second'), { durable: false });
  const { records, broken, removing } = await pods.load();
  assert.deepEqual([...records].sort(), [
    ['a', pod('second')],
    ['b', pod('other', 2n ** 63n - 1n)],
  ]);
  assert.deepEqual([broken, removing], [[], []]);
  assert.equal((await stat(pods.directory('a'))).mode & 0o777, 0o700);
  assert.equal((await stat(join(directory, 'a', 'record.json'))).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(pods.directory('a')), ['record.json']);
});

test('a write to an object that is gone fails and makes nothing', async (t) => {
  const { pods, directory } = await store(t);
  await pods.load();
  await assert.rejects(pods.write('gone', pod('x'), { durable: false }), CrispError);
  assert.deepEqual(await readdir(directory), []);
});

test('a broken record is reported and stops nothing', async (t) => {
  const { pods, directory } = await store(t, {
    check: ({ name }) => {
      if (typeof name !== 'string') throw new CrispError('DataLoss', 'the record lacks a name');
    },
  });
  await pods.load();
  await pods.create('good', pod('good'), { durable: false });
  const bad: Readonly<Record<string, string>> = {
    cut: '{"version": 2, "na',
    list: '[]',
    nothing: 'null',
    unversioned: '{"name": "x"}',
    later: '{"version": 3, "name": "x"}',
    older: '{"version": 1, "name": "x"}',
    nameless: '{"version": 2}',
    number: '{"version": 2, "name": "x", "at": {"$bigint": "x"}}',
  };
  for (const [key, text] of Object.entries(bad)) {
    await mkdir(join(directory, key));
    await writeFile(join(directory, key, 'record.json'), text);
  }
  await mkdir(join(directory, 'recordless', 'upper'), { recursive: true });
  await writeFile(join(directory, 'stray'), '');
  const { records, broken } = await pods.load();
  assert.deepEqual([...records.keys()], ['good']);
  assert.deepEqual(broken.map(({ key }) => key).sort(), [...Object.keys(bad), 'recordless', 'stray'].sort());
  const reasons = new Map(broken.map(({ key, reason }) => [key, reason]));
  assert.match(reasons.get('later') ?? '', /version 3, this crisp reads 2/);
  assert.match(reasons.get('nameless') ?? '', /lacks a name/);
  assert.ok(broken.every(({ reason }) => reason !== ''));
  // A newer crisp's record is whole: nothing of it may be undone.
  assert.deepEqual(
    broken.flatMap(({ key, isPassing }) => (isPassing ? [key] : [])),
    ['later'],
  );
});

test('what a crash leaves before the first record is swept; a directory with anything else in it stays', async (t) => {
  const { pods, directory } = await store(t);
  await pods.load();
  for (const name of ['made', 'begun', 'used']) await mkdir(join(directory, name));
  await writeFile(join(directory, 'begun', '.record.json.0a1b2c.tmp'), '{"version');
  await writeFile(join(directory, 'used', '.record.json.0a1b2c.tmp'), '{"version');
  await mkdir(join(directory, 'used', 'upper'));
  const { broken } = await pods.load();
  assert.deepEqual(
    broken.map(({ key }) => key),
    ['used'],
  );
  assert.deepEqual(await readdir(directory), ['used']);
});

test('an older record is brought up to date, a later one is not', async (t) => {
  const { pods, directory } = await store(t, {
    migrate: (old) => ({ ...pod('migrated'), at: BigInt(old.version) }),
  });
  for (const [key, version] of [
    ['old', 1],
    ['new', 3],
  ] as const) {
    await mkdir(join(directory, key), { recursive: true });
    await writeFile(join(directory, key, 'record.json'), JSON.stringify({ version }));
  }
  const { records, broken } = await pods.load();
  assert.deepEqual([...records], [['old', pod('migrated', 1n)]]);
  assert.deepEqual(
    broken.map(({ key }) => key),
    ['new'],
  );
});

test('removal takes the whole directory and is idempotent', async (t) => {
  const { pods, directory } = await store(t);
  await pods.create('a', pod('a'), { durable: false });
  await mkdir(join(pods.directory('a'), 'deep/er'), { recursive: true });
  await writeFile(join(pods.directory('a'), 'deep/er/file'), 'x');
  await pods.remove('a');
  assert.deepEqual(await readdir(directory), []);
  await pods.remove('a');
  await pods.create('a', pod('again'), { durable: false });
  assert.equal((await pods.load()).records.get('a')?.name, 'again');
});

test('an interrupted removal is reported and swept, and does not hinder the next', async (t) => {
  const { pods, directory } = await store(t);
  await mkdir(join(directory, 'a.removing/rest'), { recursive: true });
  await pods.create('a', pod('a'), { durable: false });
  const { removing, records } = await pods.load();
  assert.deepEqual([removing, [...records.keys()]], [['a'], ['a']]);
  await pods.remove('a');
  assert.deepEqual(await readdir(directory), []);
  await mkdir(join(directory, 'b.removing/rest'), { recursive: true });
  await pods.sweep(['b', 'never']);
  assert.deepEqual(await readdir(directory), []);
});

test('a record that cannot be written leaves the former one', async (t) => {
  const { pods } = await store(t);
  await pods.create('a', pod('before'), { durable: false });
  const circle: { self?: unknown } = {};
  circle.self = circle;
  await assert.rejects(pods.write('a', { ...pod('x'), circle } as Pod, { durable: false }));
  assert.equal((await pods.load()).records.get('a')?.name, 'before');
  assert.deepEqual(await readdir(pods.directory('a')), ['record.json']);
});

/** Any JSON value with bigint in it, and with keys that are traps. */
const trap = fc.constantFrom('$bigint', '$$bigint', '$$$bigint', '__proto__', 'constructor', 'toString');
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: 'small' },
    fc.bigInt(),
    fc.string({ unit: 'binary' }),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('any'), { maxLength: 4 }),
    fc.dictionary(fc.oneof(trap, fc.string()), tie('any'), { maxKeys: 4 }),
  ),
}));

/** The same with plain prototypes: what a parser gives. */
const plain = (item: unknown): unknown => {
  if (Array.isArray(item)) return item.map(plain);
  if (typeof item !== 'object' || item === null) return item;
  return Object.fromEntries(Object.entries(item).map(([key, entry]) => [key, plain(entry)]));
};

test('encode and decode are inverse for bigint and for every key', () => {
  fc.assert(
    fc.property(value.any, (item) => {
      assert.deepEqual(decode(encode(item)), plain(item));
    }),
    { numRuns: 500 },
  );
});

test('the marks of bigint are the documented ones', () => {
  assert.equal(encode({ at: 5n }), '{"at":{"$bigint":"5"}}');
  assert.equal(encode({ $bigint: '5' }), '{"$$bigint":"5"}');
  assert.deepEqual(decode('{"at":{"$bigint":"-7"}}'), { at: -7n });
  const decoded = decode('{"labels":{"__proto__":"x"}}') as { labels: object };
  assert.deepEqual(Object.entries(decoded.labels), [['__proto__', 'x']]);
  assert.equal(Object.getPrototypeOf(decoded.labels), Object.prototype);
});
