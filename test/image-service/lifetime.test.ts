/** The lifetime of images' files: removal, containers that remain, full disks, damaged stores. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, hasCode } from '#core/errors.ts';
import { buildImage, type EntrySpec, pushImage } from '../harness/images.ts';
import { type Ground, ground, small, stored } from './ground.ts';
import { kernel, operation, startService } from './service.ts';

test('a removed image is gone at once, its layers when no container uses them', async () => {
  await using at = await ground();
  const built = small('content');
  for (const tag of ['a', 'b']) await pushImage(at.registry.url, 'app', tag, built);
  const inUse = new Set<string>();
  await using opened = await startService(at.root, {}, { imagesInUse: () => inUse });
  const { service } = opened;
  for (const tag of ['a', 'b'])
    await service.pull({ reference: `${at.registry.host}/app:${tag}` }, operation('pull'));
  inUse.add(built.config.digest);
  const removals = Array.from({ length: 5 }, async () => {
    await service.remove(`${at.registry.host}/app:a`, operation('remove'));
    assert.deepEqual(service.list(), []);
  });
  await Promise.all(removals);
  await service.remove('never/was:here', operation('remove'));
  await service.collect();
  assert.equal(stored(at.root).layers.length, 1);
  assert.deepEqual(stored(at.root).blobs, []);
  await using later = await startService(at.root, {}, { imagesInUse: () => inUse });
  await later.service.collect();
  assert.equal(stored(at.root).layers.length, 1, 'a restart keeps them too');
  const container = join(at.directory, 'container');
  mkdirSync(container);
  const image = built.config.digest as Parameters<typeof later.service.rootfs.mount>[0]['image'];
  const root = { image, directory: container, target: join(container, 'rootfs') };
  await later.service.rootfs.mount(root, operation('mount'));
  await later.service.rootfs.mount(root, operation('mount'));
  assert.equal(readFileSync(join(root.target, 'file'), 'utf8'), 'content');
  writeFileSync(join(root.target, 'file'), 'changed');
  assert.equal(readFileSync(join(container, 'upper/file'), 'utf8'), 'changed');
  assert.equal(kernel.mounts.below(root.target).length, 1);
  await later.service.rootfs.unmount(root.target);
  await later.service.rootfs.unmount(root.target);
  inUse.clear();
  later.service.released(image);
  await emptied(at);
  await assert.rejects(later.service.rootfs.mount(root, operation('mount')), (error) =>
    hasCode(error, 'NotFound'),
  );
  assert.equal(later.service.fsInfo().usedBytes, 0n);
});

/** Nothing is stored any more, or soon: what is collected is deleted in the background. */
async function emptied(at: Ground): Promise<void> {
  const isEmpty = () => Object.values(stored(at.root)).every((names) => names.length === 0);
  for (let n = 0; n < 5000 && !isEmpty(); n++) await sleep(20);
  assert.deepEqual(stored(at.root), { layers: [], blobs: [], staging: [] });
}

/** Two pulled images; `look` is called whenever the garbage collector reads which images are in use. */
async function removedImages(at: Ground, look: (inUse: Set<string>, ids: readonly string[]) => void) {
  const built = ['one', 'two'].map((content) => small(content));
  for (const [n, image] of built.entries()) await pushImage(at.registry.url, `app${n}`, 'v1', image);
  const ids = built.map(({ config }) => config.digest);
  const inUse = new Set<string>();
  const imagesInUse = () => {
    const now = [...inUse];
    look(inUse, ids);
    return now;
  };
  const opened = await startService(at.root, {}, { imagesInUse });
  const reference = (n: number) => `${at.registry.host}/app${n}:v1`;
  for (const n of built.keys()) await opened.service.pull({ reference: reference(n) }, operation('pull'));
  inUse.clear();
  const remove = (n: number) => opened.service.remove(reference(n), operation('remove'));
  return { opened, inUse, ids, remove };
}

type MountedImage = Parameters<Awaited<ReturnType<typeof startService>>['service']['rootfs']['mount']>[0];

test('a container created while its image is removed: it has all of it or none, and the rest is collected', async () => {
  await using at = await ground();
  let removed = false;
  // The record of the container is published between two steps of the collector.
  const { opened, inUse, ids, remove } = await removedImages(at, (used, [first = '']) => {
    if (removed) queueMicrotask(() => used.add(first));
  });
  await using _opened = opened;
  const { service } = opened;
  for (const n of [0, 1]) await remove(n);
  removed = true;
  await service.collect();
  removed = false;
  const directory = join(at.directory, 'container');
  mkdirSync(directory);
  const root = { image: ids[0] as MountedImage['image'], directory, target: join(directory, 'rootfs') };
  await assert.rejects(service.rootfs.mount(root, operation('mount')), (error) => hasCode(error, 'NotFound'));
  // The creation is rolled back; nothing else starts a collection.
  inUse.clear();
  service.released(root.image);
  await emptied(at);
});

test('an image that a container uses meanwhile keeps its record, others are deleted', async () => {
  await using at = await ground();
  let removed = false;
  const { opened, inUse, ids, remove } = await removedImages(at, (used, [, second = '']) => {
    if (removed) queueMicrotask(() => used.add(second));
  });
  await using _opened = opened;
  const { service } = opened;
  for (const n of [0, 1]) await remove(n);
  removed = true;
  await service.collect();
  assert.deepEqual([...inUse], [ids[1]]);
  assert.equal(stored(at.root).layers.length, 1, 'the layers of the other image are gone');
  const directory = join(at.directory, 'container');
  mkdirSync(directory);
  const root = { image: ids[1] as MountedImage['image'], directory, target: join(directory, 'rootfs') };
  await service.rootfs.mount(root, operation('mount'));
  assert.equal(readFileSync(join(root.target, 'file'), 'utf8'), 'two');
  await service.rootfs.unmount(root.target);
});

test('images of odd layers mount: none, the same twice, an opaque root', async () => {
  await using at = await ground();
  const odd: Record<string, EntrySpec[][]> = {
    none: [],
    twice: [
      [{ name: './' }, { name: 'a' }],
      [{ name: './' }, { name: '.wh.a' }],
      [{ name: './' }, { name: 'a' }],
    ],
    opaque: [
      [{ name: './' }, { name: 'a' }],
      [{ name: './' }, { name: '.wh..wh..opq' }, { name: 'b' }],
    ],
  };
  const wanted: Record<string, string[]> = { none: [], twice: ['a'], opaque: ['b'] };
  await using opened = await startService(at.root);
  for (const [name, layers] of Object.entries(odd)) {
    await pushImage(
      at.registry.url,
      name,
      'v1',
      buildImage({ layers: layers.map((entries) => ({ entries })), config: { User: name } }),
    );
    const image = await opened.service.pull(
      { reference: `${at.registry.host}/${name}:v1` },
      operation('pull'),
    );
    const directory = join(at.directory, `container-${name}`);
    const target = join(directory, 'rootfs');
    await opened.service.rootfs.mount({ image: image.id, directory, target }, operation('mount'));
    assert.deepEqual(readdirSync(target), wanted[name]);
    await opened.service.rootfs.unmount(target);
  }
});

test('a full disk: the pull reports it and leaves nothing, removal succeeds', async () => {
  await using at = await ground();
  const disk = join(at.directory, 'disk');
  mkdirSync(disk);
  await kernel.mounts.tmpfs({ target: disk, bytes: 8 << 20 });
  try {
    const root = join(disk, 'images');
    const big = buildImage({
      layers: [{ entries: [{ name: './' }, { name: 'big', content: Buffer.alloc(16 << 20) }] }],
    });
    const wide = buildImage({
      layers: [
        { entries: [{ name: './' }, { name: 'wide', content: Buffer.alloc(16 << 20) }], compression: 'none' },
      ],
    });
    for (const [name, image] of Object.entries({ small: small('x'), big, wide }))
      await pushImage(at.registry.url, name, 'v1', image);
    await using opened = await startService(root);
    const pull = (name: string) =>
      opened.service.pull({ reference: `${at.registry.host}/${name}:v1` }, operation('pull'));
    await pull('small');
    await opened.service.collect();
    const before = { ...stored(root), used: opened.service.fsInfo().usedBytes };
    for (const name of ['big', 'wide']) {
      await assert.rejects(
        pull(name),
        (error) => hasCode(error, 'ResourceExhausted') && error.errno === 'ENOSPC',
        name,
      );
      await sleep(10);
      await opened.service.collect();
      assert.deepEqual({ ...stored(root), used: opened.service.fsInfo().usedBytes }, before, name);
    }
    assert.throws(() => writeFileSync(join(disk, 'filler'), Buffer.alloc(16 << 20)), /ENOSPC/);
    await opened.service.remove(`${at.registry.host}/small:v1`, operation('remove'));
    assert.deepEqual(opened.service.list(), []);
    await opened.service.collect();
    await using again = await startService(root);
    assert.deepEqual(again.service.list(), []);
    assert.deepEqual(stored(root), { layers: [], blobs: [], staging: [] });
  } finally {
    await kernel.mounts.unmount(disk);
  }
});

test('a failed unpack whose directory cannot be deleted: its own error is reported, and the directory is deleted later', async () => {
  await using at = await ground();
  const layers = [{ entries: [{ name: './' }] }];
  const wrong = buildImage({ layers, diffIds: [`sha256:${'0'.repeat(64)}`] });
  await pushImage(at.registry.url, 'app', 'v1', wrong);
  let refusals = 0;
  const files = {
    ...kernel.files,
    removeTree(path: string) {
      if (!path.includes('/staging/layer-') || refusals++ > 0) return kernel.files.removeTree(path);
      return Promise.reject(new CrispError('KernelRefused', 'remove: EMFILE', { errno: 'EMFILE' }));
    },
  };
  await using opened = await startService(at.root, {}, undefined, { ...kernel, files });
  await assert.rejects(
    opened.service.pull({ reference: `${at.registry.host}/app:v1` }, operation('pull')),
    (error) => hasCode(error, 'DataLoss') && error.message.includes('diff id'),
  );
  assert.equal(stored(at.root).staging.length, 1);
  await opened.service.collect();
  assert.deepEqual(stored(at.root).staging, []);
});

test('the store opens with any damage, and pulling again repairs it', async () => {
  await using at = await ground();
  const images = ['a', 'b', 'c'].map((name) => small(name));
  for (const [n, image] of images.entries()) await pushImage(at.registry.url, `app${n}`, 'v1', image);
  const reference = (n: number) => `${at.registry.host}/app${n}:v1`;
  {
    await using opened = await startService(at.root);
    for (const n of images.keys()) await opened.service.pull({ reference: reference(n) }, operation('pull'));
  }
  const keys = stored(at.root).layers;
  const layerOf = (n: number) =>
    `diff-${(JSON.parse(images[n]?.config.bytes.toString() ?? '').rootfs.diff_ids[0] as string).slice(7)}`;
  assert.ok(keys.includes(layerOf(0)));
  writeFileSync(join(at.root, 'layers', layerOf(0), 'record.json'), '{"version":');
  const [_, second] = images;
  writeFileSync(join(at.root, 'images', second?.config.digest.slice(7) ?? '', 'record.json'), '');
  mkdirSync(join(at.root, 'staging', 'layer-left'));
  mkdirSync(join(at.root, 'layers', 'diff-x.removing'));
  await using opened = await startService(at.root);
  assert.deepEqual(
    opened.service.list().map(({ repoTags }) => repoTags[0]),
    [reference(2)],
  );
  for (const n of images.keys()) await opened.service.pull({ reference: reference(n) }, operation('pull'));
  assert.equal(opened.service.list().length, 3);
  await opened.service.collect();
  assert.deepEqual(stored(at.root).layers.sort(), keys.sort());
  assert.deepEqual(stored(at.root).staging, []);
  assert.equal(existsSync(join(at.root, 'layers', 'diff-x.removing')), false);
});
