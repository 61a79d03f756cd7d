/** Layers in both forms in the store: what is written in which order, what is read of older and newer stores. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import { silentLog } from '#core/operation.ts';
import { LayerMounts } from '#image-service/store/layer-mounts.ts';
import {
  type LayerForm,
  type LayerRecord,
  LayerStore,
  type NewLayer,
} from '#image-service/store/layer-store.ts';
import { Staging } from '#image-service/store/staging.ts';
import { type FileStep, makeFiles } from '#linux/fs/files.ts';
import { mounts } from '#linux/mount/mounts.ts';
import { imageOfFiles, recordIn, writeRecord } from './erofs-store.ts';
import { testDirectory } from './service.ts';

const hex = (name: string): string => Buffer.from(name).toString('hex').padEnd(64, '0');
const layerOf = (name: string): NewLayer => ({
  key: `diff-${hex(name)}`,
  diffId: `sha256:${hex(name)}`,
  rootOpaque: false,
  bytes: 8192,
  inodes: 2,
});

interface Place extends AsyncDisposable {
  readonly root: string;
  readonly layers: string;
  readonly steps: FileStep[];
  readonly lost: string[];
  readonly named: Set<string>;
  /** A further daemon's store; the mounts of the one before are left to it. */
  open(form?: LayerForm): Promise<LayerStore & { readonly broken: readonly string[] }>;
  image(store: LayerStore, name: string, content: string): Promise<LayerRecord>;
  directory(store: LayerStore, name: string, content: string): Promise<LayerRecord>;
}

function place(): Place {
  const base = testDirectory();
  const root = base.path;
  const layers = join(root, 'layers');
  const steps: FileStep[] = [];
  const lost: string[] = [];
  const named = new Set<string>();
  const files = makeFiles((step, act) => {
    steps.push(step);
    return act();
  });
  const state = join(root, 'state');
  return {
    root,
    layers,
    steps,
    lost,
    named,
    async open(form = { form: 'erofs', by: 'file' }) {
      const staging = new Staging(join(root, 'staging'), files, () => {});
      for (const path of await staging.open()) await staging.remove(path);
      const of: LayerMounts = new LayerMounts({ mounts, log: silentLog, directory: state, form: () => form });
      const images = { mounts: of, examine, lost: (key: string) => lost.push(key) };
      const store = new LayerStore(layers, staging, files, (key) => named.has(key), images);
      const { broken } = await store.load();
      await store.recoverMounts(form);
      return Object.assign(store, { broken: broken.map(({ key, reason }) => `${key}: ${reason}`) });
    },
    async image(store, name, content) {
      await using staged = await store.stage('erofs');
      assert.deepEqual(readdirSync(staged.path), [], 'no directory of files');
      const image = imageOfFiles({ [name]: content, all: name }, staged.image);
      return await store.commit(staged, { ...layerOf(name), image });
    },
    async directory(store, name, content) {
      await using staged = await store.stage();
      writeFileSync(join(staged.fs, name), content);
      return await store.commit(staged, layerOf(name));
    },
    async [Symbol.asyncDispose]() {
      for (const { target } of mounts.below(root).toReversed()) await mounts.unmount(target);
      base[Symbol.dispose]();
    },
  };
}

const damaged = (pattern: RegExp) => (error: unknown) =>
  hasCode(error, 'DataLoss') && pattern.test(error.message) && /^pull the image again/.test(error.hint);
/** Of a layer that the kernel refuses. */
const examine = async () => 'its bytes are other ones';

test('an image is durable by itself before its layer is there: each step in its order, and no sync of the disk', async () => {
  await using at = place();
  const store = await at.open();
  at.steps.length = 0;
  const { key } = await at.image(store, 'one', 'content');
  const shown = at.steps.map((step) => {
    const short = (path: string) =>
      path
        .slice(at.root.length + 1)
        .replace(/layer-[0-9a-f]{16}/, 'STAGED')
        .replace(/\.[0-9a-f]+\.tmp/, '.TMP');
    return `${step.kind} ${short(step.path)}${step.kind === 'rename' ? ` -> ${short(step.to)}` : ''}`;
  });
  assert.deepEqual(shown, [
    'flush staging/STAGED/layer.erofs',
    'create staging/STAGED/.record.json.TMP',
    'write staging/STAGED/.record.json.TMP',
    'flush staging/STAGED/.record.json.TMP',
    'rename staging/STAGED/.record.json.TMP -> staging/STAGED/record.json',
    'sync directory staging/STAGED',
    `rename staging/STAGED -> layers/${key}`,
    'sync directory layers',
    'remove tree staging/STAGED',
  ]);
  assert.equal(store.isUnsynced([key]), false);
  const plain = await at.directory(store, 'two', 'content');
  assert.equal(store.isUnsynced([key, plain.key]), true);
  at.named.add(plain.key);
  assert.equal(store.isUnsynced([key, plain.key]), false, 'one that a record names was synced with it');
});

test('the size of an image is what its file takes on the disk', async () => {
  await using at = place();
  const store = await at.open();
  const { image, bytes, inodes } = await at.image(store, 'one', 'x'.repeat(100_000));
  assert.ok(image && image.bytes > 100_000);
  assert.equal(bytes, Math.ceil(image.bytes / 4096) * 4096);
  assert.equal(inodes, 3);
  await at.directory(store, 'two', 'x');
  assert.deepEqual(store.usage, { bytes: bytes + 8192, inodes: 5 });
  assert.deepEqual(store.counts, { erofs: 1, directory: 1 });
  await store.remove(layerOf('one').key);
  assert.deepEqual(store.usage, { bytes: 8192, inodes: 2 });
});

test('layers of both forms are below one overlay, also after a restart, which takes the mounts over', async () => {
  await using at = place();
  let store = await at.open();
  const keys = [
    (await at.directory(store, 'bottom', '1')).key,
    (await at.image(store, 'middle', '2')).key,
    (await at.directory(store, 'above', '3')).key,
    (await at.image(store, 'top', '4')).key,
  ];
  const merged = join(at.root, 'merged');
  mkdirSync(merged);
  const look = async (): Promise<void> => {
    const lower = await store.mounted([...keys, keys[0] ?? '']);
    assert.equal(lower.length, 4);
    await mounts.overlay({ target: merged, lower });
    const content = ['bottom', 'middle', 'above', 'top', 'all'].map((name) =>
      readFileSync(join(merged, name), 'utf8'),
    );
    assert.deepEqual(content, ['1', '2', '3', '4', 'top']);
    await mounts.unmount(merged);
  };
  const targets = () =>
    mounts
      .below(join(at.root, 'state'))
      .filter(({ type }) => type === 'erofs')
      .map(({ id }) => id);
  await look();
  await look();
  const before = targets();
  assert.equal(before.length, 2, 'each is mounted once');
  store = await at.open();
  await look();
  assert.deepEqual(targets(), before);
  store = await at.open({ form: 'directory', reason: 'as configured' });
  await look();
  assert.deepEqual(targets(), before, 'they stay valid where new layers are directories');
  for (const key of keys) await store.remove(key);
  assert.deepEqual([targets(), store.keys(), readdirSync(at.layers)], [[], [], []]);
  assert.deepEqual(readdirSync(join(at.root, 'staging')), []);
});

test('the file of a removed image is gone at once; a container that uses it keeps it until its end', async () => {
  await using at = place();
  const store = await at.open();
  const { key } = await at.image(store, 'one', 'content');
  const merged = join(at.root, 'merged');
  mkdirSync(merged);
  await mounts.overlay({ target: merged, lower: [...(await store.mounted([key])), store.directory] });
  await store.remove(key);
  assert.deepEqual(readdirSync(at.layers), []);
  assert.equal(readFileSync(join(merged, 'one'), 'utf8'), 'content');
  const again = await at.image(store, 'one', 'other');
  const [directory = ''] = await store.mounted([again.key]);
  assert.equal(readFileSync(join(directory, 'one'), 'utf8'), 'other');
  assert.equal(readFileSync(join(merged, 'one'), 'utf8'), 'content');
  await mounts.unmount(merged);
  await store.remove(key);
  assert.deepEqual(
    mounts.below(join(at.root, 'state')).filter(({ type }) => type === 'erofs'),
    [],
  );
});

test('records: directories get version 1, as an earlier crisp reads it, images version 2; both are read', async () => {
  await using at = place();
  const store = await at.open();
  const [plain, image] = [await at.directory(store, 'one', '1'), await at.image(store, 'two', '2')];
  const on = (key: string) => recordIn(join(at.layers, key));
  assert.equal(on(plain.key).version, 1);
  assert.equal('image' in on(plain.key), false);
  assert.deepEqual(on(image.key), image);
  assert.equal(image.version, 2);
  const later = await at.open();
  assert.deepEqual(later.broken, []);
  assert.deepEqual([later.get(plain.key), later.get(image.key)], [plain, image]);
});

test('a record that is not whole is no layer', async () => {
  await using at = place();
  const first = await at.open();
  const record = await at.image(first, 'one', '1');
  const layer = join(at.layers, record.key);
  const { image, ...plain } = record;
  assert.ok(image);
  const records: [object, RegExp][] = [
    [{ ...record, version: 1 }, /record of version 1 has an image/],
    [plain, /record of version 2 lacks an image/],
    [{ ...record, image: { ...image, digest: 'sha256:0' } }, /the digest of the layer's image is "sha256:0"/],
    [{ ...record, image: { bytes: image.bytes } }, /the digest of the layer's image is undefined/],
    [{ ...record, image: { ...image, bytes: -1 } }, /the size of the layer's image is -1/],
    [{ ...record, image: { ...image, bytes: 0.5 } }, /the size of the layer's image is 0.5/],
    [
      { ...record, image: { ...image, bytes: image.bytes + 4096 } },
      /the layer's image has \d+ bytes, not \d+/,
    ],
    [{ ...record, image: 7 }, /the digest of the layer's image/],
    [{ ...record, bytes: '1' }, /lacks fields of version 2/],
    [{ ...record, key: `diff-${hex('x')}` }, /it is the record of layer diff-/],
  ];
  for (const [written, pattern] of records) {
    writeRecord(layer, written);
    const { broken, keys } = await at.open().then((store) => ({ broken: store.broken, keys: store.keys() }));
    assert.deepEqual(keys, []);
    assert.match(broken.join(), pattern);
  }
  writeRecord(layer, record);
  truncateSync(join(layer, 'layer.erofs'), 100);
  assert.match((await at.open()).broken.join(), /has 100 bytes, not/);
});

test('an image that is shortened or missing is reported, and a pull makes the layer anew', async () => {
  await using at = place();
  const store = await at.open();
  const { key, diffId } = await at.image(store, 'one', 'content');
  truncateSync(store.image(key), 100);
  await assert.rejects(store.mounted([key]), damaged(/has changed: .* has 100 bytes/));
  assert.deepEqual(at.lost, [key]);
  assert.ok(store.get(key));
  assert.equal(store.find(diffId, `sha256:${hex('chain')}`), undefined);
  const again = await at.image(store, 'one', 'content');
  const [directory = ''] = await store.mounted([key]);
  assert.equal(readFileSync(join(directory, 'one'), 'utf8'), 'content');
  assert.deepEqual([store.find(diffId, ''), readdirSync(at.layers)], [again, [key]]);
  await assert.rejects(store.mounted([`diff-${hex('none')}`]), damaged(/is missing/));
});

test('a damaged directory is replaced by a new layer, and kept: a container may have it', async () => {
  await using at = place();
  const store = await at.open();
  const { key } = await at.directory(store, 'one', 'damaged');
  store.suspect(key);
  assert.deepEqual([store.sound(key), store.get(key)?.key], [undefined, key]);
  await at.directory(store, 'one', 'whole');
  assert.equal(readFileSync(join(store.fs(key), 'one'), 'utf8'), 'whole');
  const [aside = ''] = readdirSync(at.layers).filter((name) => name !== key);
  assert.match(aside, /^damaged-/);
  assert.equal(readFileSync(join(at.layers, aside, 'fs/one'), 'utf8'), 'damaged');
  assert.deepEqual(store.usage, { bytes: 8192, inodes: 2 });
});

test('a container whose layers a dead disk does not mount is given up at its cancellation', async () => {
  await using at = place();
  const { key } = await at.image(await at.open(), 'one', 'content');
  const begun = Promise.withResolvers<void>();
  const never: Promise<string> = new Promise(() => {});
  const dead = {
    ...{ hold: () => ({ [Symbol.dispose]() {} }), release: async () => {}, recover: async () => {} },
    mounted: [],
    ensure: () => {
      begun.resolve();
      return never;
    },
  };
  const staging = new Staging(join(at.root, 'staging'), makeFiles(), () => {});
  const images = { mounts: dead, examine, lost: (name: string) => at.lost.push(name) };
  const store = new LayerStore(at.layers, staging, makeFiles(), () => true, images);
  await store.load();
  const cancel = new AbortController();
  const mounting = store.mounted([key], cancel.signal);
  await begun.promise;
  cancel.abort();
  await assert.rejects(
    mounting,
    (error) => hasCode(error, 'Cancelled') && /mount the layers/.test(error.message),
  );
  assert.deepEqual(at.lost, []);
});

for (const canExchange of [true, false]) {
  const where = canExchange ? '' : ', also where the disk cannot exchange names';
  test(`while a damaged layer is replaced, containers get the one or the other${where}`, async () => {
    await using at = place();
    const before = await at.open();
    const { key } = await at.image(before, 'one', 'damaged');
    /** What was found when a step had been carried out. */
    const found: Promise<string[]>[] = [];
    const seen: string[][] = [];
    let isReplacing = false;
    const files = {
      ...makeFiles(async (_step, act) => {
        const result = await act();
        if (!isReplacing) return result;
        seen.push(readdirSync(at.layers));
        found.push(store.mounted([key]));
        found.at(-1)?.catch(() => {});
        return result;
      }),
      ...(canExchange ? {} : { exchange: async () => false }),
    };
    const staging = new Staging(join(at.root, 'staging'), files, () => {});
    const form: LayerForm = { form: 'erofs', by: 'file' };
    const directory = join(at.root, 'state');
    const of = new LayerMounts({ mounts, log: silentLog, directory, form: () => form });
    const images = { mounts: of, examine, lost: (name: string) => at.lost.push(name) };
    const store: LayerStore = new LayerStore(at.layers, staging, files, () => true, images);
    await store.load();
    await store.recoverMounts(form);
    store.suspect(key);
    isReplacing = true;
    const record = await at.image(store, 'one', 'other content');
    isReplacing = false;
    for (const directories of await Promise.all(found)) assert.equal(directories.length, 1);
    assert.deepEqual([at.lost, store.sound(key), readdirSync(at.layers)], [[], record, [key]]);
    if (canExchange) for (const names of seen) assert.ok(names.includes(key), names.join(' '));
    const [mounted = ''] = await store.mounted([key]);
    assert.equal(readFileSync(join(mounted, 'one'), 'utf8'), 'other content');
  });
}

test('what a newer crisp has written stays until its layer is made anew, and is then set aside', async () => {
  await using at = place();
  const record = await at.image(await at.open(), 'one', 'content');
  writeRecord(join(at.layers, record.key), { ...record, version: 4 });
  const store = await at.open();
  assert.match(store.broken.join(), /version 4, this crisp reads 3/);
  assert.equal(store.get(record.key), undefined);
  await at.image(store, 'one', 'content');
  const names = readdirSync(at.layers).sort();
  assert.equal(names.length, 2);
  assert.equal(recordIn(join(at.layers, names[0] ?? '')).version, 4);
});

test('where no image can be mounted, layers that are images are missing and not deleted', async () => {
  await using at = place();
  const { key, diffId } = await at.image(await at.open(), 'one', 'content');
  const refuse = { ...mounts, erofs: () => Promise.reject(refused) };
  const refused = new CrispError('FailedPrecondition', 'mount erofs: ENODEV');
  const staging = new Staging(join(at.root, 'staging'), makeFiles(), () => {});
  const form: LayerForm = { form: 'directory', reason: 'ENODEV' };
  const of = new LayerMounts({
    mounts: refuse,
    log: silentLog,
    directory: join(at.root, 'state'),
    form: () => form,
  });
  const store = new LayerStore(at.layers, staging, makeFiles(), () => false, {
    mounts: of,
    examine,
    lost() {},
  });
  await store.load();
  assert.match((await store.recoverMounts(form)) ?? '', /ENODEV/);
  assert.deepEqual([store.get(key), store.find(diffId, ''), store.keys()], [undefined, undefined, [key]]);
  assert.ok(store.usage.bytes > 0, 'its space is counted');
  const plain = await at.directory(store, 'one', 'content');
  assert.deepEqual([plain.version, await store.mounted([key])], [1, [store.fs(key)]]);
  assert.equal(existsSync(store.image(key)), false, 'replaced, and its space is free');
  assert.deepEqual(readdirSync(at.layers), [key]);
});

test('a commit that fails leaves the former layer, and no second one', async () => {
  await using at = place();
  const store = await at.open();
  const record = await at.image(store, 'one', 'content');
  store.suspect(record.key);
  const { rename } = makeFiles();
  const files = {
    ...makeFiles(),
    rename: (from: string, to: string) =>
      from.includes('staging') && to.includes('layers/')
        ? Promise.reject(new Error('EIO'))
        : rename(from, to),
  };
  const staging = new Staging(join(at.root, 'staging'), files, () => {});
  const failing = new LayerStore(at.layers, staging, files);
  await failing.load();
  failing.suspect(record.key);
  await assert.rejects(at.image(failing, 'one', 'other'), /EIO/);
  assert.deepEqual(readdirSync(at.layers), [record.key]);
  assert.deepEqual(failing.get(record.key), record);
  assert.deepEqual(readdirSync(join(at.root, 'staging')), []);
});
