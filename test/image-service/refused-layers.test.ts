/** Layers whose image was damaged after it was written, so that the kernel refuses it: not listed until a pull has made them anew. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import type { ImageId } from '#core/ids.ts';
import type { ImageService } from '#image-service/index.ts';
import type { Mounts } from '#linux/ports/kernel.ts';
import { buildImage, pushImage } from '../harness/images.ts';
import { startFront } from './front.ts';
import { type Ground, ground } from './ground.ts';
import { kernel, operation, startService } from './service.ts';

const base = { entries: [{ name: './' }, { name: 'etc/' }, { name: 'etc/base', content: 'base' }] };
/** The second layer lacks its root: it is completed against the first. */
const imageOf = (name: string) =>
  buildImage({ layers: [base, { entries: [{ name: `etc/${name}`, content: name }] }] });
const SUPERBLOCK = 1024;
const HINT = /^pull the image again, .*`crisp check --images --repair`/;

/** Damages a layer's image so that only the kernel notices it. By another file: one with fs-verity cannot be written. */
const damages = {
  'a root that is no directory': (image: Buffer) => image.writeUInt16LE(7, SUPERBLOCK + 14),
  'features of no kernel': (image: Buffer) => image.writeUInt32LE(0xffffffff, SUPERBLOCK + 80),
} as const;
function damage(root: string, key: string, how: (image: Buffer) => void): void {
  const path = join(root, 'layers', key, 'layer.erofs');
  const bytes = readFileSync(path);
  how(bytes);
  writeFileSync(`${path}.new`, bytes);
  renameSync(`${path}.new`, path);
}

async function pulled(at: Ground, host: string, service: ImageService, name = 'app') {
  await pushImage(at.registry.url, name, 'v1', imageOf(name));
  const image = await service.pull({ reference: `${host}/${name}:v1` }, operation('pull'));
  assert.equal(image.record.layers.length, 2);
  return image;
}

async function files(at: Ground, service: ImageService, image: ImageId): Promise<string[]> {
  const target = join(at.directory, 'target');
  mkdirSync(target, { recursive: true });
  await service.rootfs.mountVolume({ image, target }, operation('mount'));
  try {
    return readdirSync(join(target, 'etc')).sort();
  } finally {
    await service.rootfs.unmount(target);
  }
}

const lost = (error: unknown) =>
  hasCode(error, 'DataLoss') &&
  /layer diff-[0-9a-f]+ is damaged: its bytes have the digest .*mount erofs .*: E[A-Z]+/.test(
    error.message,
  ) &&
  HINT.test(error.hint);

for (const [name, how] of Object.entries(damages)) {
  test(`${name}: the image is not listed, and its next pull fetches that layer and no other`, async () => {
    await using at = await ground();
    await using front = await startFront(at.registry.url);
    await using opened = await startService(at.root, { layers: 'erofs' });
    const { service } = opened;
    const { id, record } = await pulled(at, front.host, service);
    damage(at.root, record.layers[0] ?? '', how);
    assert.deepEqual((await service.status(id))?.id, id);
    // The second container does not read it again.
    for (let n = 0; n < 2; n++)
      await assert.rejects(files(at, service, id), n === 0 ? lost : /not in the store/);
    assert.deepEqual([service.list(), service.status(id)], [[], undefined]);
    const [trouble] = service.troubles();
    assert.equal(trouble?.reason, 'ImageDamaged');
    assert.match(trouble?.message ?? '', /layer diff-.* of .*app:v1/);
    front.seen.length = 0;
    await service.pull({ reference: `${front.host}/app:v1` }, operation('pull'));
    const { layers } = imageOf('app');
    const fetched = layers.map(({ digest }) => front.seen.filter(({ url }) => url.includes(digest)).length);
    assert.deepEqual(fetched, [1, 0]);
    assert.deepEqual(await files(at, service, id), ['app', 'base']);
    assert.deepEqual(service.troubles(), []);
  });
}

test('a repair pulls it as well; a pull on top of it fails once', async () => {
  await using at = await ground();
  await using opened = await startService(at.root, { layers: 'erofs' });
  const { service } = opened;
  const { host } = at.registry;
  const { id, record } = await pulled(at, host, service);
  damage(at.root, record.layers[0] ?? '', damages['features of no kernel']);
  await assert.rejects(files(at, service, id), lost);
  const kinds: string[] = [];
  for await (const event of service.check({ repair: true }, operation('check'))) {
    if (event.kind === 'repair') assert.ok(event.outcome.repaired, event.outcome.message);
    kinds.push(event.kind);
  }
  assert.ok(kinds.includes('repair'));
  assert.deepEqual(await files(at, service, id), ['app', 'base']);
  damage(at.root, record.layers[0] ?? '', damages['features of no kernel']);
  await assert.rejects(pulled(at, host, service, 'other'), lost);
  const other = await pulled(at, host, service, 'other');
  assert.deepEqual(await files(at, service, other.id), ['base', 'other']);
});

test('an image that the kernel refuses as it was written is kept: no pull would change it', async () => {
  await using at = await ground();
  let refuses = false;
  const mounts: Mounts = {
    ...kernel.mounts,
    async erofs(request) {
      if (refuses) throw new CrispError('KernelRefused', 'EINVAL (unknown features)', { errno: 'EINVAL' });
      await kernel.mounts.erofs(request);
    },
  };
  await using opened = await startService(at.root, { layers: 'erofs' }, undefined, { ...kernel, mounts });
  const { service } = opened;
  const { id } = await pulled(at, at.registry.host, service);
  // What the pull has mounted stays.
  await service.close();
  refuses = true;
  await assert.rejects(
    files(at, service, id),
    (error) =>
      hasCode(error, 'KernelRefused') &&
      /is as it was written, and the kernel does not mount it: .*unknown features/.test(error.message) &&
      /image\.layers = "directory"/.test(error.hint),
  );
  assert.deepEqual([service.list().length, service.troubles()], [1, []]);
  refuses = false;
  assert.deepEqual(await files(at, service, id), ['app', 'base']);
});
