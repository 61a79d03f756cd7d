/** Layers that need not wait for those below them, and those that do; the attributes of the root, which layers may leave out. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, renameSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { chainIds } from '#image-service/image/image-config.ts';
import type { ImageService } from '#image-service/index.ts';
import { chainKey } from '#image-service/store/layer-record.ts';
import { cName, lgetxattr } from '#linux/fs/at-syscalls.ts';
import { openKernel } from '#linux/index.ts';
import { type BuiltImage, buildImage, type EntrySpec, pushImage } from '../harness/images.ts';
import { recordIn, writeRecord } from './erofs-store.ts';
import { startFront } from './front.ts';
import { type Ground, ground, stored } from './ground.ts';
import { isBlob } from './scene.ts';
import { operation, startService } from './service.ts';
import { userNamespace } from './user-namespace.ts';

const kernel = await openKernel();
after(() => kernel.close());
const forms = ['erofs', 'directory'] as const;

const imageOf = (layers: readonly (readonly EntrySpec[])[]): BuiltImage =>
  buildImage({ layers: layers.map((entries) => ({ entries })) });

/** Pulls an image whose lowest layer comes last, when `others` says so; returns the requests for its blobs. */
async function requests(
  image: BuiltImage,
  options: { layers: (typeof forms)[number]; unpackWorkers: number },
  others: (root: string, asked: number) => boolean,
): Promise<number> {
  await using at = await ground();
  await pushImage(at.registry.url, 'app', 'v1', image);
  const asked = new Set<string>();
  await using front = await startFront(at.registry.url, async (req) => {
    if (!image.layers.some(({ digest }) => req.url?.endsWith(digest))) return false;
    asked.add(req.url ?? '');
    if (req.url?.endsWith(image.layers[0]?.digest ?? '')) while (!others(at.root, asked.size)) await sleep(5);
    return false;
  });
  await using opened = await startService(at.root, {
    ...options,
    noByteMs: 3_600_000,
    slowEndpointMs: 3_600_000,
  });
  await opened.service.pull({ reference: `${front.host}/app:v1` }, operation('pull'));
  assert.equal(stored(at.root).layers.length, image.layers.length);
  assert.deepEqual(stored(at.root).staging, []);
  return front.seen.filter(({ url }) => isBlob(url)).length;
}

test('sixteen layers without an entry for their root: none waits for another, and each is fetched once', async () => {
  const image = imageOf(Array.from({ length: 16 }, (_, n) => [{ name: `file-${n}`, content: `${n}` }]));
  for (const layers of forms) {
    const all = await requests(
      image,
      { layers, unpackWorkers: 4 },
      (root) => stored(root).layers.filter((name) => name.startsWith('diff-')).length === 15,
    );
    assert.equal(all, 17, layers);
  }
});

test('sixteen layers that wait for a directory of the lowest one are fetched once, however few threads there are', async () => {
  const above = Array.from({ length: 15 }, (_, n): EntrySpec[] => [{ name: `d/${n}`, content: `${n}` }]);
  const image = imageOf([[{ name: './' }, { name: 'd/', mode: 0o711 }], ...above]);
  for (const [layers, unpackWorkers] of [
    ['erofs', 4],
    ['erofs', 2],
    ['directory', 2],
  ] as const) {
    const all = await requests(image, { layers, unpackWorkers }, (_, asked) => asked === 16);
    assert.equal(all, 17, `${layers}, ${unpackWorkers} threads`);
  }
});

/** What of a directory a container sees of its root. */
function rootOf(path: string): unknown {
  const { mode, uid, gid, mtimeNs } = statSync(path, { bigint: true });
  const value = Buffer.alloc(16);
  const length = lgetxattr(cName(path), cName('user.of'), value, value.length);
  const of = length < 0 ? undefined : value.toString('latin1', 0, length);
  return { mode: Number(mode & 0o7777n).toString(8), uid: Number(uid), gid: Number(gid), mtime: mtimeNs, of };
}

const root = (mode: number, id: number): EntrySpec => ({
  name: './',
  mode,
  uid: id,
  gid: id + 1,
  mtime: BigInt(id) * 1_000_000_007n,
  xattrs: { 'user.of': Buffer.from(`layer ${id}`) },
});
const seen = (mode: string, id: number, base = 0) => ({
  ...{ mode, uid: base + id, gid: base + id + 1, mtime: BigInt(id) * 1_000_000_007n, of: `layer ${id}` },
});
const file = (name: string): EntrySpec => ({ name, content: name });

const cases = {
  'the topmost that declares it': {
    layers: [[root(0o700, 3), file('a')], [root(0o1751, 5), file('b')], [file('c')], [file('d')]],
    ...{ mode: '1751', id: 5 },
  },
  'the top itself': { layers: [[root(0o700, 3)], [file('b'), root(0o711, 6)]], ...{ mode: '711', id: 6 } },
  'one that is hidden': {
    layers: [[root(0o750, 4), file('a')], [file('b')], [file('.wh..wh..opq'), file('c')]],
    ...{ mode: '750', id: 4 },
  },
  'one below a layer that is completed': {
    layers: [[root(0o751, 7), { name: 'd/', mode: 0o700 }], [file('d/x')]],
    ...{ mode: '751', id: 7 },
  },
  'the only one': { layers: [[root(0o555, 8), file('a')]], ...{ mode: '555', id: 8 } },
} as const;

/** Mounts as a container and as an image volume, and shows their roots. */
async function roots(at: Ground, service: ImageService, name: string, pin?: string): Promise<unknown[]> {
  const image = service.list()[0]?.id;
  assert.ok(image);
  const directory = join(at.directory, `${name}-container`);
  const [target, volume] = [join(directory, 'rootfs'), join(directory, 'volume')];
  const more = { image, userNamespace: pin };
  await service.rootfs.mount({ ...more, directory, target }, operation('mount'));
  await service.rootfs.mountVolume({ ...more, target: volume }, operation('mount'));
  try {
    return [rootOf(target), rootOf(volume)];
  } finally {
    for (const path of [target, volume]) await service.rootfs.unmount(path);
  }
}

test('the root has the attributes of the topmost layer that declares it, in containers and image volumes', async (t) => {
  const pin = await userNamespace(t, kernel);
  for (const layers of forms) {
    for (const [name, { layers: entries, mode, id }] of Object.entries(cases)) {
      await using at = await ground();
      await pushImage(at.registry.url, 'app', 'v1', imageOf(entries));
      await using opened = await startService(at.root, { layers });
      await opened.service.pull({ reference: `${at.registry.host}/app:v1` }, operation('pull'));
      const what = `${layers}: ${name}`;
      assert.deepEqual(await roots(at, opened.service, 'plain'), [seen(mode, id), seen(mode, id)], what);
      const mapped = seen(mode, id, 400_000);
      assert.deepEqual(await roots(at, opened.service, 'mapped', pin), [mapped, mapped], what);
    }
  }
});

test('where no layer declares the root it has mode 0755 and belongs to root', async (t) => {
  const pin = await userNamespace(t, kernel);
  for (const layers of forms) {
    await using at = await ground();
    await pushImage(at.registry.url, 'app', 'v1', imageOf([[file('a')], [file('b')]]));
    await using opened = await startService(at.root, { layers });
    await opened.service.pull({ reference: `${at.registry.host}/app:v1` }, operation('pull'));
    for (const [base, ...more] of [[0], [400_000, pin]] as const)
      for (const one of await roots(at, opened.service, `of-${base}`, ...more))
        assert.partialDeepStrictEqual(one, { mode: '755', uid: base, gid: base, of: undefined }, layers);
  }
});

test('a layer without an entry for its root is the same on top of any others, and an earlier crisp does not take it', async () => {
  await using at = await ground();
  const app = [file('app')];
  await pushImage(at.registry.url, 'one', 'v1', imageOf([[root(0o700, 3)], app]));
  await pushImage(at.registry.url, 'two', 'v1', imageOf([[root(0o711, 4)], app]));
  await using opened = await startService(at.root);
  const [one, two] = [
    await opened.service.pull({ reference: `${at.registry.host}/one:v1` }, operation('pull')),
    await opened.service.pull({ reference: `${at.registry.host}/two:v1` }, operation('pull')),
  ];
  const key = one.record.layers[1] ?? '';
  assert.equal(two.record.layers[1], key);
  const record = (name = '') => recordIn(join(at.root, 'layers', name));
  assert.deepEqual([record(key).version, record(key).rootDeclared], [3, false]);
  assert.deepEqual(
    [record(one.record.layers[0]).version, record(one.record.layers[0]).rootDeclared],
    [2, undefined],
  );
  assert.ok(readFileSync(join(at.root, 'layers', key, 'layer.erofs')).length > 0);
});

test('a layer that an earlier crisp completed for its root alone is used as it is, and replaced where it is damaged', async () => {
  await using at = await ground();
  const image = imageOf([[root(0o700, 3)], [file('app')]]);
  await pushImage(at.registry.url, 'app', 'v1', image);
  const reference = `${at.registry.host}/app:v1`;
  let diff = '';
  {
    await using opened = await startService(at.root);
    const { record } = await opened.service.pull({ reference }, operation('pull'));
    diff = record.layers[1] ?? '';
  }
  const { rootfs } = JSON.parse(image.config.bytes.toString()) as { rootfs: { diff_ids: string[] } };
  const chain = chainKey(chainIds(rootfs.diff_ids)[1] ?? '');
  const layers = join(at.root, 'layers');
  const { rootDeclared: _, ...record } = recordIn(join(layers, diff));
  renameSync(join(layers, diff), join(layers, chain));
  writeRecord(join(layers, chain), { ...record, key: chain, version: 2 });
  const [id = ''] = readdirSync(join(at.root, 'images'));
  const path = join(at.root, 'images', id, 'record.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace(diff, chain));
  await using opened = await startService(at.root);
  const { service } = opened;
  const plain = { mode: '755', uid: 0, gid: 0, mtime: 0n, of: undefined };
  assert.deepEqual(await roots(at, service, 'as-it-is'), [plain, plain], 'here it has the default');
  await service.pull({ reference }, operation('pull'));
  assert.deepEqual(service.list()[0]?.record.layers[1], chain, 'containers may have it');
  truncateSync(join(layers, chain, 'layer.erofs'), 100);
  await assert.rejects(roots(at, service, 'damaged'), /DataLoss|has changed/);
  await service.pull({ reference }, operation('pull'));
  const repaired = service.list()[0]?.record.layers ?? [];
  assert.equal(repaired[1], chain);
  assert.equal(recordIn(join(layers, chain)).rootDeclared, false);
  assert.deepEqual(await roots(at, service, 'repaired'), [seen('700', 3), seen('700', 3)]);
});
