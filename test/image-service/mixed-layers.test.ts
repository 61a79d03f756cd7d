/** Root file systems over layers of both forms, EROFS images and directories, in the node's ids and in those of a pod. */
import assert from 'node:assert/strict';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { after, type TestContext } from 'node:test';
import { CrispError } from '#core/errors.ts';
import type { ImageId } from '#core/ids.ts';
import { Operation, silentLog } from '#core/operation.ts';
import { openKernel } from '#linux/index.ts';
import type { Mounts } from '#linux/ports/kernel.ts';
import type { ImageRecord } from '../../image-service/image/image.ts';
import { RootFileSystems } from '../../image-service/rootfs.ts';
import { LayerMounts } from '../../image-service/store/layer-mounts.ts';
import { probeImage } from '../../image-service/store/probe-image.ts';
import { scratch } from '../linux/scratch.ts';
import { userNamespace } from './user-namespace.ts';

const kernel = await openKernel();
after(() => kernel.close());
const image = `sha256:${'1'.repeat(64)}` as ImageId;
const op = () => new Operation('test');

/** A store with layers `0` … , the first the lowest; odd ones are EROFS images, of one file that has the layer's name. */
function store(
  t: TestContext,
  count: number,
  mounts: Mounts = kernel.mounts,
  isImage = (n: number) => n % 2 === 1,
) {
  const root = scratch(t, kernel.mounts);
  const at = (...path: string[]) => join(root, ...path);
  for (const path of ['layers', 'empty']) mkdirSync(at(path));
  const keys = Array.from({ length: count }, (_, n) => `${n}`);
  for (const [n, key] of keys.entries()) {
    mkdirSync(at('layers', key, 'fs'), { recursive: true });
    if (isImage(n)) writeFileSync(at('layers', key, 'layer.erofs'), probeImage(`file-${key}`, key));
    else {
      writeFileSync(at('layers', key, 'fs', `file-${key}`), key);
      writeFileSync(at('layers', key, 'fs', 'same'), key);
    }
  }
  const layerMounts = new LayerMounts({
    mounts: kernel.mounts,
    log: silentLog,
    directory: at('state'),
    form: () => ({ form: 'erofs', by: 'file' }),
  });
  const mounted = (keys: readonly string[]): Promise<string[]> =>
    Promise.all(
      keys
        .toReversed()
        .map((key) =>
          isImage(Number(key))
            ? layerMounts.ensure(key, { path: at('layers', key, 'layer.erofs'), bytes: 4096 })
            : at('layers', key, 'fs'),
        ),
    );
  const restored: { directory: string; lower: readonly string[] }[] = [];
  const rootfs = new RootFileSystems(
    { record: () => ({ layers: keys }) as unknown as ImageRecord },
    {
      mounted,
      rootOf: (layers) => layers.at(-1),
      hold: (layers) => layerMounts.hold(layers),
      directory: at('layers'),
    },
    mounts,
    {
      async unpack(layer) {
        restored.push(layer);
      },
    },
    at('empty'),
  );
  const names = keys.map((key) => `file-${key}`);
  /** All mounts but those of the layers. */
  const others = () => kernel.mounts.below(root).filter(({ target }) => !target.startsWith(at('state')));
  return { root, at, rootfs, names, restored, layerMounts, others };
}

test('a root file system, an image volume and a restored layer over both forms', async (t) => {
  const { at, rootfs, names, restored, layerMounts, others } = store(t, 5);
  const container = { image, directory: at('container'), target: at('rootfs') };
  await rootfs.mount(container, op());
  await rootfs.mount(container, op());
  assert.deepEqual(readdirSync(at('rootfs')).sort(), [...names, 'same']);
  assert.equal(readFileSync(at('rootfs/same'), 'utf8'), '4', 'the topmost layer shows');
  writeFileSync(at('rootfs/file-1'), 'changed');
  await rootfs.mount({ ...container, directory: at('other'), target: at('second') }, op());
  assert.equal(readFileSync(at('second/file-1'), 'utf8'), '1');
  await rootfs.mountVolume({ image, target: at('volume') }, op());
  assert.equal(readFileSync(at('volume/file-3'), 'utf8'), '3');
  assert.throws(() => writeFileSync(at('volume/new'), ''), { code: 'EROFS' });
  assert.equal(layerMounts.mounted.length, 2, 'each layer is mounted once');
  await rootfs.restoreLayer({ image, directory: at('container'), archive: 'archive' }, op());
  assert.deepEqual(
    restored[0]?.lower.map((path) => readdirSync(path).find((name) => name !== 'same')),
    names.toReversed(),
  );
  await layerMounts.release('1');
  assert.equal(readFileSync(at('second/file-1'), 'utf8'), '1', 'containers keep what they have');
  for (const target of ['rootfs', 'second', 'volume']) await rootfs.unmount(at(target));
  assert.deepEqual(others(), []);
});

test('in a user namespace all files have its ids, and no view of a layer is left', async (t) => {
  const { at, rootfs, names, others } = store(t, 6);
  const pin = await userNamespace(t, kernel);
  const container = { image, directory: at('container'), target: at('rootfs'), userNamespace: pin };
  await rootfs.mount(container, op());
  assert.deepEqual(readdirSync(at('rootfs')).sort(), [...names, 'same']);
  for (const name of ['.', ...names]) {
    const { uid, gid } = statSync(at('rootfs', name));
    assert.deepEqual([name, uid, gid], [name, 400_000, 400_000]);
  }
  await rootfs.mountVolume({ image, target: at('volume'), userNamespace: pin }, op());
  assert.equal(statSync(at('volume/file-5')).uid, 400_000);
  assert.equal(lstatSync(at('layers/0/fs/file-0')).uid, 0, 'the layers are as they were');
  assert.deepEqual(
    others().map(({ target }) => target),
    [at('rootfs'), at('volume')],
  );
  for (const target of ['rootfs', 'volume']) await rootfs.unmount(at(target));
  assert.deepEqual([others(), readdirSync(at('rootfs-layers'))], [[], []]);
});

test('one layer that is an image is a volume by itself, also in a user namespace', async (t) => {
  const { at, rootfs, others } = store(t, 1, kernel.mounts, () => true);
  const pin = await userNamespace(t, kernel);
  await rootfs.mountVolume({ image, target: at('plain') }, op());
  await rootfs.mountVolume({ image, target: at('mapped'), userNamespace: pin }, op());
  assert.deepEqual([statSync(at('plain/file-0')).uid, statSync(at('mapped/file-0')).uid], [0, 400_000]);
  for (const target of ['plain', 'mapped']) await rootfs.unmount(at(target));
  assert.deepEqual(others(), []);
});

test('a label is a context of the overlay, also of a volume of one layer', async (t) => {
  const seen: Parameters<Mounts['overlay']>[0][] = [];
  const overlay: Mounts['overlay'] = async (request) => {
    seen.push(request);
    // This kernel may have no SELinux.
    await kernel.mounts.overlay({ ...request, options: [] });
  };
  const { at, rootfs, others } = store(t, 1, { ...kernel.mounts, overlay }, () => true);
  const label = 'system_u:object_r:container_file_t:s0:c1,c2';
  await rootfs.mount({ image, directory: at('container'), target: at('rootfs'), label }, op());
  await rootfs.mountVolume({ image, target: at('volume'), label }, op());
  assert.deepEqual(
    seen.map(({ options }) => options),
    [[`context=${label}`], [`context=${label}`]],
  );
  // An overlay of a single layer would be a bind mount.
  assert.equal(seen[1]?.lower.length, 2);
  assert.equal(readFileSync(at('volume/file-0'), 'utf8'), '0');
  for (const target of ['rootfs', 'volume']) await rootfs.unmount(at(target));
  assert.deepEqual(others(), []);
});

test('what fails or crashes amid a mount in a user namespace leaves no view behind', async (t) => {
  let crash = false;
  const failing: Mounts = {
    ...kernel.mounts,
    overlay: () => Promise.reject(new CrispError('KernelRefused', 'no overlay')),
    unmount: (target) => (crash ? Promise.resolve() : kernel.mounts.unmount(target)),
  };
  const { at, rootfs, others } = store(t, 4, failing);
  const pin = await userNamespace(t, kernel);
  const container = { image, directory: at('container'), target: at('rootfs'), userNamespace: pin };
  await assert.rejects(rootfs.mount(container, op()), /no overlay/);
  assert.deepEqual(others(), []);
  crash = true;
  for (let n = 0; n < 2; n++) await assert.rejects(rootfs.mount(container, op()), /no overlay/);
  assert.equal(others().length, 8, 'the views of a crash: a tmpfs, the directories, two images; twice');
  crash = false;
  await rootfs.unmount(at('rootfs'));
  assert.deepEqual([others(), existsSync(at('layers/0/fs/file-0'))], [[], true]);
});

test('500 layers that are images: mounted, in a user namespace too, in lines that every program reads', async (t) => {
  const { at, rootfs, names, layerMounts, others } = store(t, 500, kernel.mounts, () => true);
  const pin = await userNamespace(t, kernel);
  await rootfs.mount({ image, directory: at('one'), target: at('plain') }, op());
  await rootfs.mount({ image, directory: at('two'), target: at('mapped'), userNamespace: pin }, op());
  for (const path of ['plain', 'mapped']) assert.equal(readdirSync(at(path)).length, names.length);
  assert.equal(layerMounts.mounted.length, 500);
  const longest = Math.max(
    ...readFileSync('/proc/self/mountinfo')
      .toString()
      .split('\n')
      .map((line) => line.length),
  );
  assert.ok(longest < 60_000, `${longest}`);
  for (const target of ['plain', 'mapped']) await rootfs.unmount(at(target));
  assert.deepEqual(others(), []);
  await layerMounts.close(() => false);
  assert.deepEqual(kernel.mounts.below(at('state')), []);
});
