/** Images whose layers are EROFS images, in a whole service: older and newer nodes, damage, removal in use, artifacts. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import type { ImageId } from '#core/ids.ts';
import type { ImageService } from '#image-service/index.ts';
import { type FileStep, makeFiles } from '#linux/fs/files.ts';
import { buildArtifact } from '../harness/artifacts.ts';
import { buildImage, pushImage } from '../harness/images.ts';
import { recordIn, turnIntoImages } from './erofs-store.ts';
import { type Ground, ground, small, stored } from './ground.ts';
import { kernel, operation, startService } from './service.ts';

const base = { entries: [{ name: './' }, { name: 'base', content: 'base' }] };
const app = buildImage({ layers: [base, { entries: [{ name: './' }, { name: 'app', content: 'app' }] }] });

/** A store with the image, of whose layers these are EROFS images. */
async function storeWith(at: Ground, which: 'all' | 'base'): Promise<string> {
  await pushImage(at.registry.url, 'app', 'v1', app);
  const reference = `${at.registry.host}/app:v1`;
  await using opened = await startService(at.root, { layers: 'directory' });
  const { record } = await opened.service.pull({ reference }, operation('pull'));
  turnIntoImages(join(at.root, 'layers'), which === 'all' ? record.layers : record.layers.slice(0, 1));
  return reference;
}

const erofsMounts = (at: Ground) =>
  kernel.mounts.below(join(at.root, 'state')).filter(({ type }) => type === 'erofs').length;

/** Mounts the image for a container, looks at its files, and unmounts it. */
async function look(at: Ground, service: ImageService, name: string): Promise<string[]> {
  const directory = mkdtempSync(join(at.directory, 'container-'));
  const target = join(directory, 'rootfs');
  const image = service.status(name)?.id as ImageId;
  await service.rootfs.mount({ image, directory, target }, operation('mount'));
  try {
    return readdirSync(target).map((file) => `${file}: ${readFileSync(join(target, file), 'utf8')}`);
  } finally {
    await service.rootfs.unmount(target);
  }
}

const noErofs = {
  ...kernel.mounts,
  erofs: () => Promise.reject(new CrispError('FailedPrecondition', 'mount erofs: ENODEV')),
};

test('images of both forms are listed and mounted, whatever the form of new layers is', async () => {
  for (const which of ['all', 'base'] as const) {
    await using at = await ground();
    const name = await storeWith(at, which);
    for (const layers of ['auto', 'directory', 'erofs'] as const) {
      await using opened = await startService(at.root, { layers });
      assert.deepEqual(await look(at, opened.service, name), ['app: app', 'base: base'], layers);
      const { form, stored } = opened.service.layers();
      assert.equal(form.form, layers === 'directory' ? 'directory' : 'erofs');
      assert.deepEqual(stored, which === 'all' ? { erofs: 2, directory: 0 } : { erofs: 1, directory: 1 });
    }
    assert.equal(erofsMounts(at), 0, 'nothing in use stays mounted at the end');
  }
});

test('an image that is removed while a container uses it keeps its files; then mounts and space are gone', async () => {
  await using at = await ground();
  const name = await storeWith(at, 'all');
  const inUse = new Set<string>();
  const users = { imagesInUse: () => inUse };
  const directory = join(at.directory, 'container');
  const target = join(directory, 'rootfs');
  mkdirSync(directory);
  const image = app.config.digest as string as ImageId;
  {
    await using opened = await startService(at.root, {}, users);
    inUse.add(image);
    await opened.service.rootfs.mount({ image, directory, target }, operation('mount'));
    await opened.service.remove(name, operation('remove'));
    await opened.service.collect();
    assert.equal(stored(at.root).layers.length, 2);
  }
  assert.equal(erofsMounts(at), 2, 'the next daemon finds them');
  await using opened = await startService(at.root, {}, users);
  await opened.service.collect();
  assert.equal(erofsMounts(at), 2);
  assert.equal(readFileSync(join(target, 'app'), 'utf8'), 'app');
  await opened.service.rootfs.unmount(target);
  inUse.clear();
  await opened.service.collect();
  assert.deepEqual(stored(at.root), { layers: [], blobs: [], staging: [] });
  assert.equal(erofsMounts(at), 0);
  assert.equal(opened.service.fsInfo().usedBytes, 0n);
});

test('a node that can no longer mount them: their images are hidden, and pulled again as directories', async () => {
  await using at = await ground();
  const name = await storeWith(at, 'all');
  {
    await using opened = await startService(at.root, {}, undefined, { ...kernel, mounts: noErofs });
    const { service } = opened;
    assert.deepEqual(service.list(), []);
    assert.equal(service.layers().form.form, 'directory');
    await service.collect();
    assert.deepEqual(service.layers().stored, { erofs: 2, directory: 0 }, 'they are kept');
  }
  {
    await using opened = await startService(at.root);
    assert.equal(opened.service.list().length, 1, 'they are back with the kernel that can');
  }
  await using opened = await startService(at.root, {}, undefined, { ...kernel, mounts: noErofs });
  await opened.service.pull({ reference: name }, operation('pull'));
  assert.deepEqual(opened.service.layers().stored, { erofs: 0, directory: 2 });
  assert.deepEqual(await look(at, opened.service, name), ['app: app', 'base: base']);
  await opened.service.remove(name, operation('remove'));
  await opened.service.collect();
  assert.deepEqual(stored(at.root), { layers: [], blobs: [], staging: [] }, 'nothing is retained any longer');
});

test('a hidden image keeps its names for its next pull, and can be removed by them', async () => {
  await using at = await ground();
  const name = await storeWith(at, 'all');
  await pushImage(at.registry.url, 'app', 'v2', app);
  const second = name.replace('v1', 'v2');
  {
    await using opened = await startService(at.root);
    await opened.service.pull({ reference: second }, operation('pull'));
  }
  {
    await using opened = await startService(at.root, {}, undefined, { ...kernel, mounts: noErofs });
    const image = await opened.service.pull({ reference: name }, operation('pull'));
    assert.deepEqual(image.repoTags.toSorted(), [name, second]);
  }
  turnIntoImages(join(at.root, 'layers'));
  await using opened = await startService(at.root, {}, undefined, { ...kernel, mounts: noErofs });
  assert.deepEqual(opened.service.list(), []);
  await opened.service.remove(second, operation('remove'));
  await opened.service.collect();
  assert.deepEqual(stored(at.root), { layers: [], blobs: [], staging: [] });
});

test('image.layers = "erofs" on a node that cannot is refused at the start, with the remedy', async () => {
  await using at = await ground();
  const starting = startService(at.root, { layers: 'erofs' }, undefined, { ...kernel, mounts: noErofs });
  await assert.rejects(starting, (error) => hasCode(error, 'FailedPrecondition') && error.hint !== '');
});

test('an image that has changed under the daemon is reported and hidden, and a pull repairs it', async () => {
  await using at = await ground();
  const name = await storeWith(at, 'all');
  await using opened = await startService(at.root);
  const { service } = opened;
  const [key = ''] = service.list()[0]?.record.layers ?? [];
  truncateSync(join(at.root, 'layers', key, 'layer.erofs'), 100);
  await assert.rejects(
    look(at, service, name),
    (error) => hasCode(error, 'DataLoss') && /pull/.test(error.hint),
  );
  assert.deepEqual(service.list(), [], 'the kubelet pulls what is not listed');
  await service.collect();
  assert.equal(stored(at.root).layers.length, 2);
  await service.pull({ reference: name }, operation('pull'));
  assert.deepEqual(await look(at, service, name), ['app: app', 'base: base']);
  await service.remove(name, operation('remove'));
  await service.collect();
  assert.deepEqual(stored(at.root), { layers: [], blobs: [], staging: [] });
});

test('damaged images at the start: hidden, collected or set aside, and pulled again', async () => {
  for (const inUse of [false, true]) {
    await using at = await ground();
    const name = await storeWith(at, 'all');
    const key = readdirSync(join(at.root, 'layers'))[0] ?? '';
    truncateSync(join(at.root, 'layers', key, 'layer.erofs'), 100);
    const used = new Set(inUse ? [app.config.digest] : []);
    const users = { imagesInUse: () => used };
    await using opened = await startService(at.root, {}, users);
    const { service } = opened;
    assert.deepEqual(service.list(), []);
    await service.pull({ reference: name }, operation('pull'));
    assert.deepEqual(await look(at, service, name), ['app: app', 'base: base']);
    await service.collect();
    const aside = stored(at.root).layers.filter((layer) => layer.startsWith('damaged-'));
    assert.equal(aside.length, inUse ? 1 : 0);
    used.clear(); // else its layers stay mounted
  }
});

test('what a newer crisp has written stays on the disk, and its image is hidden', async () => {
  await using at = await ground();
  await storeWith(at, 'base');
  const layers = join(at.root, 'layers');
  const [newer = ''] = readdirSync(layers).filter((key) => recordIn(join(layers, key)).image);
  const path = join(layers, newer, 'record.json');
  const text = readFileSync(path, 'utf8').replace('"version":2', '"version":4');
  writeFileSync(path, text);
  await using opened = await startService(at.root);
  assert.deepEqual(opened.service.list(), []);
  await opened.service.collect();
  assert.equal(readFileSync(path, 'utf8'), text);
  assert.equal(stored(at.root).layers.length, 2);
});

/** The file steps of one action, as kinds. */
async function stepsOf(at: Ground, action: (service: ImageService) => Promise<unknown>): Promise<FileStep[]> {
  const steps: FileStep[] = [];
  const files = makeFiles((step, act) => {
    steps.push(step);
    return act();
  });
  await using opened = await startService(at.root, {}, undefined, { ...kernel, files });
  steps.length = 0;
  await action(opened.service);
  return steps;
}

test('an artifact is made durable file by file; an archive in it takes a sync of the disk', async () => {
  await using at = await ground();
  const files = [
    { title: 'a/b/one', content: 'one' },
    { title: 'two', content: 'two' },
  ];
  await pushImage(at.registry.url, 'files', 'v1', buildArtifact({ files }));
  const pull = (name: string) => (service: ImageService) =>
    service.pull({ reference: `${at.registry.host}/${name}:v1` }, operation('pull'));
  const steps = await stepsOf(at, pull('files'));
  const of = (kind: FileStep['kind']) => steps.filter((step) => step.kind === kind).map(({ path }) => path);
  assert.deepEqual(of('sync file system'), []);
  const synced = of('sync directory').map((path) => path.replace(/^.*\/layer-[0-9a-f]+/, 'STAGED'));
  assert.deepEqual(
    synced.filter((path) => path.startsWith('STAGED')),
    ['STAGED/fs/a/b', 'STAGED/fs/a', 'STAGED/fs', 'STAGED'],
  );
  const flushed = of('flush').map((path) => path.slice(at.root.length));
  assert.equal(flushed.filter((path) => /\/fs\/(a\/b\/one|two)$/.test(path)).length, 2);
  for (const { digest } of (await blobsOf(at)) ?? [])
    assert.ok(
      flushed.some((path) => path.includes(digest.slice(7)) || path.includes('/staging/blob-')),
      digest,
    );
  const last = steps.findLastIndex(({ kind, path }) => kind === 'create' && path.includes('/images/'));
  const layerNamed = steps.findIndex(
    ({ kind, path }) => kind === 'sync directory' && path.endsWith('/layers'),
  );
  assert.ok(layerNamed >= 0 && layerNamed < last, 'the record comes last');
});

async function blobsOf(at: Ground) {
  return readdirSync(join(at.root, 'content/blobs/sha256')).map((name) => ({ digest: `sha256:${name}` }));
}

test('a pull of an image whose layers are there syncs its config and manifest, and nothing else', async () => {
  await using at = await ground();
  await storeWith(at, 'all');
  const again = buildImage({
    layers: [base, { entries: [{ name: './' }, { name: 'app', content: 'app' }] }],
    config: { User: '7' },
  });
  await pushImage(at.registry.url, 'again', 'v1', again);
  const steps = await stepsOf(at, (service) =>
    service.pull({ reference: `${at.registry.host}/again:v1` }, operation('pull')),
  );
  assert.ok(!steps.some(({ kind }) => kind === 'sync file system'));
  const blobs = steps.filter(({ kind, path }) => kind === 'flush' && path.includes('/staging/'));
  assert.equal(blobs.length, 2);
  const names = steps.filter(({ kind, path }) => kind === 'sync directory' && path.endsWith('blobs/sha256'));
  assert.equal(names.length, 1);
});

test('a new layer in a directory takes one sync of the disk', async () => {
  await using at = await ground();
  await pushImage(at.registry.url, 'app', 'v1', small('x'));
  const steps: FileStep[] = [];
  const files = makeFiles((step, act) => {
    steps.push(step);
    return act();
  });
  await using opened = await startService(at.root, { layers: 'directory' }, undefined, { ...kernel, files });
  await opened.service.pull({ reference: `${at.registry.host}/app:v1` }, operation('pull'));
  assert.equal(steps.filter(({ kind }) => kind === 'sync file system').length, 1);
});
