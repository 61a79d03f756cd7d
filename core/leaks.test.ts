import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { files } from '#linux/fs/files.ts';
import { type LeakOutcome, Leaks } from './leaks.ts';
import { silentLog } from './operation.ts';

interface Thing {
  readonly parts: readonly string[];
}

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'crisp-leaks-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

function open(t: TestContext, at: string, undo: (thing: Thing) => Promise<LeakOutcome<Thing> | undefined>) {
  const leaks = new Leaks<Thing>({
    object: 'thing',
    directory: join(at, 'leaks'),
    files,
    log: silentLog,
    undo,
    check: ({ parts }) => assert.ok(Array.isArray(parts)),
  });
  t.after(() => leaks.close());
  return leaks;
}

const given = (id: string, ...parts: string[]) => ({
  id,
  name: `the ${id}`,
  kinds: parts,
  record: { parts },
  error: new Error('busy'),
  tries: 3,
});

test('a leak is on the disk, is tried again with what is left of it, and goes when all is undone', async (t) => {
  const at = await directory(t);
  const undone = new Set<string>();
  const undo = async ({ parts }: Thing) => {
    const left = parts.filter((part) => !undone.has(part));
    return left.length > 0
      ? { kinds: left, record: { parts: left }, error: new Error('still busy') }
      : undefined;
  };
  const first = open(t, at, undo);
  await first.load();
  await first.add(given('a', 'mount', 'cgroup'));
  undone.add('mount');
  await first.retry('a');
  const second = open(t, at, undo);
  await second.load();
  const [leak] = second.list();
  assert.deepEqual(
    [leak?.object, leak?.id, leak?.name, leak?.kinds, leak?.error, leak?.tries],
    ['thing', 'a', 'the a', ['cgroup'], 'still busy', 4],
  );
  assert.ok(!('record' in (leak ?? {})));
  undone.add('cgroup');
  await second.retry('a');
  assert.deepEqual([second.list(), await readdir(join(at, 'leaks'))], [[], []]);
});

test('leaks of an earlier daemon are retried once the next one begins, without a request', async (t) => {
  const at = await directory(t);
  const first = open(t, at, async () => assert.fail('not yet'));
  await first.load();
  await first.add(given('a', 'mount'));
  await first.close();
  const tried = Promise.withResolvers<Thing>();
  const second = open(t, at, async (thing) => {
    tried.resolve(thing);
    return undefined;
  });
  await second.load();
  second.begin();
  assert.deepEqual(await tried.promise, { parts: ['mount'] });
});

test('an undo that throws keeps the leak; a disk that refuses the record keeps it in memory', async (t) => {
  const at = await directory(t);
  const leaks = open(t, at, async () => Promise.reject(new Error('worse')));
  await leaks.load();
  await leaks.add(given('a', 'mount'));
  await leaks.retry('a');
  assert.equal(leaks.list()[0]?.error, 'worse');
  await rm(join(at, 'leaks'), { recursive: true });
  await writeFile(join(at, 'leaks'), 'in the way');
  await leaks.add(given('b', 'mount'));
  assert.deepEqual(
    leaks
      .list()
      .map(({ id }) => id)
      .sort(),
    ['a', 'b'],
  );
});

test('an older crisp keeps a leak as one of a newer; one of version 1 is read, and written as of today', async (t) => {
  const at = await directory(t);
  const undo = async (thing: Thing) => ({ kinds: ['mount'], record: thing, error: new Error('busy') });
  const first = open(t, at, undo);
  await first.load();
  await first.add(given('a', 'mount'));
  const path = join(at, 'leaks/a/record.json');
  const text = await readFile(path, 'utf8');
  assert.equal(JSON.parse(text).version, 2);
  await writeFile(path, JSON.stringify({ ...JSON.parse(text), version: 1 }));
  const second = open(t, at, undo);
  await second.load();
  assert.deepEqual(second.get('a')?.record, { parts: ['mount'] });
  await second.retry('a');
  assert.equal(JSON.parse(await readFile(path, 'utf8')).version, 2);
});
