/** EROFS images: what is read through them, id-mapped, below an overlay, and the loop devices of those that need one. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import test, { after } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { CrispError, hasCode } from '#core/errors.ts';
import { openKernel } from '#linux/index.ts';
import { probeImage } from '../../image-service/store/probe-image.ts';
import { scratch } from './scratch.ts';

const kernel = await openKernel();
after(() => kernel.close());
const { mounts, namespaces, processes } = kernel;
const ids = [{ containerId: 0, hostId: 400_000, length: 1000 }];
const code = (wanted: string) => (error: unknown) => hasCode(error, wanted as 'DataLoss');

/** The files behind loop devices, by device. */
const backing = () =>
  readdirSync('/sys/block').flatMap((name) => {
    try {
      return [[`/dev/${name}`, readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trim()] as const];
    } catch {
      return [];
    }
  });

/** Whoever looks at a device, such as udev, keeps it for that long. */
async function released(root: string): Promise<void> {
  while (backing().some(([, file]) => file.startsWith(root))) await setTimeout(20);
}

for (const by of ['file', 'loop'] as const) {
  test(`by ${by}: an overlay of many images, in the ids of a user namespace, outlives the mounts below it`, async (t) => {
    const root = scratch(t, mounts);
    const at = (...path: string[]) => join(root, ...path);
    for (const path of ['pins', 'directory', 'upper', 'work', 'merged']) mkdirSync(at(path));
    const wanted = { kinds: ['user', 'uts'], pins: at('pins'), sysctls: {}, oomScoreAdj: 0 } as const;
    const userNamespace = { uids: ids, gids: ids };
    const held = await namespaces.hold({ ...wanted, userNamespace }, AbortSignal.timeout(20_000));
    t.after(() => processes.signal(held.process, 9));
    t.after(() => namespaces.unpin(at('pins')));
    const lower: string[] = [];
    for (let n = 0; n < 4; n++) {
      for (const path of [`layer-${n}`, `view-${n}`]) mkdirSync(at(path));
      writeFileSync(at(`image-${n}`), probeImage(`file-${n}`, `content ${n}`));
      await mounts.erofs({ image: at(`image-${n}`), target: at(`layer-${n}`), by });
      const idMap = held.pins.user ?? '';
      await mounts.bind({ source: at(`layer-${n}`), target: at(`view-${n}`), idMap, readonly: true });
      lower.push(at(`view-${n}`));
    }
    writeFileSync(at('directory', 'other'), 'x');
    await mounts.overlay({
      target: at('merged'),
      lower: [...lower, at('directory')],
      upper: at('upper'),
      work: at('work'),
    });
    for (let n = 0; n < 4; n++)
      for (const path of [`view-${n}`, `layer-${n}`]) await mounts.unmount(at(path));
    assert.deepEqual(readdirSync(at('merged')).sort(), ['file-0', 'file-1', 'file-2', 'file-3', 'other']);
    assert.equal(readFileSync(at('merged', 'file-2'), 'utf8'), 'content 2');
    const { uid, gid } = statSync(at('merged', 'file-3'));
    assert.deepEqual([uid, gid], [400_000, 400_000]);
    writeFileSync(at('merged', 'file-1'), 'changed');
    chownSync(at('merged', 'file-0'), 5, 5);
    assert.deepEqual(readdirSync(at('upper')).sort(), ['file-0', 'file-1']);
    assert.equal(backing().filter(([, file]) => file.startsWith(root)).length, by === 'loop' ? 4 : 0);
    await mounts.unmount(at('merged'));
    await released(root);
    await held.abandon();
  });

  test(`by ${by}: a long path, one with odd characters, a target that is a file`, async (t) => {
    const root = scratch(t, mounts);
    const directory = join(root, 'd'.repeat(200), `e,:\\${'e'.repeat(100)}`);
    mkdirSync(directory, { recursive: true });
    const image = join(directory, 'image');
    writeFileSync(image, probeImage('name', 'content'));
    const target = join(root, 'target');
    mkdirSync(target);
    await mounts.erofs({ image, target, by });
    assert.equal(readFileSync(join(target, 'name'), 'utf8'), 'content');
    await mounts.unmount(target);
    await assert.rejects(mounts.erofs({ image, target: image, by }), code('KernelRefused'));
    assert.deepEqual(mounts.below(root), []);
    await released(root);
  });
}

test('by file: a mount reads ahead as far as the disk that the image is on', async (t) => {
  const root = scratch(t, mounts);
  const at = (path: string) => join(root, path);
  const disk = execFileSync('findmnt', ['-n', '-o', 'SOURCE', '-T', root], { encoding: 'utf8' }).trim();
  const queues = ['queue', '../queue'].map(
    (queue) => `/sys/class/block/${basename(disk)}/${queue}/read_ahead_kb`,
  );
  const queue = queues.find((file) => existsSync(file));
  if (queue === undefined) return t.skip(`${disk} has no queue`);
  const devices = () => readdirSync('/sys/class/bdi').filter((name) => name.startsWith('erofs-'));
  const before = devices();
  mkdirSync(at('target'));
  writeFileSync(at('image'), probeImage('name', 'content'));
  await mounts.erofs({ image: at('image'), target: at('target'), by: 'file' });
  // Other processes of the machine may mount images at the same time.
  const own = devices().filter((name) => !before.includes(name));
  const ahead = own.map((name) => Number(readFileSync(`/sys/class/bdi/${name}/read_ahead_kb`, 'utf8')));
  const wanted = Math.max(128, Number(readFileSync(queue, 'utf8')));
  assert.ok(ahead.includes(wanted), `${ahead} KiB, not ${wanted}`);
  await mounts.unmount(at('target'));
});

test('a loop device: read-only, past the page cache, of as many at once as are wanted, and given back where the mount fails', async (t) => {
  const root = scratch(t, mounts);
  const at = (path: string) => join(root, path);
  const numbers = Array.from({ length: 20 }, (_, n) => n);
  for (const n of numbers) {
    mkdirSync(at(`target-${n}`));
    writeFileSync(at(`image-${n}`), probeImage('name', `${n}`));
  }
  await Promise.all(
    numbers.map((n) => mounts.erofs({ image: at(`image-${n}`), target: at(`target-${n}`), by: 'loop' })),
  );
  for (const n of numbers) assert.equal(readFileSync(join(at(`target-${n}`), 'name'), 'utf8'), `${n}`);
  const used = backing().filter(([, file]) => file.startsWith(root));
  assert.equal(used.length, numbers.length);
  for (const [device] of used) {
    const attribute = (name: string) =>
      readFileSync(`/sys/block/${device.slice('/dev/'.length)}/${name}`, 'utf8').trim();
    assert.deepEqual(['ro', 'loop/autoclear', 'loop/dio'].map(attribute), ['1', '1', '1']);
  }
  for (const n of numbers) await mounts.unmount(at(`target-${n}`));
  await released(root);
  // A newer format than the kernel knows: its own refusal, not that of the check before.
  const strange = probeImage('name', 'x');
  strange.writeUInt32LE(0x8000_0000, 1024 + 80);
  writeFileSync(at('strange'), strange);
  for (const by of ['loop', 'file'] as const)
    await assert.rejects(
      mounts.erofs({ image: at('strange'), target: at('target-0'), by }),
      code('KernelRefused'),
    );
  await released(root);
});

test('a file that this kernel cannot mount by itself: the other way is named', async (t) => {
  const root = scratch(t, mounts);
  const at = (path: string) => join(root, path);
  for (const path of ['lower', 'upper', 'work', 'merged', 'target']) mkdirSync(at(path));
  // Files of an overlay are refused since Linux 6.18; before, and where no kernel mounts from files, it is the same error.
  await mounts.overlay({ target: at('merged'), lower: [at('lower')], upper: at('upper'), work: at('work') });
  writeFileSync(at('merged/image'), probeImage('name', 'content'));
  const mounting = mounts.erofs({ image: at('merged/image'), target: at('target'), by: 'file' });
  const refusal = await mounting.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (refusal !== undefined) {
    assert.ok(code('FailedPrecondition')(refusal) && refusal instanceof CrispError);
    assert.match(`${refusal.message} ${refusal.hint}`, /ENOTBLK .*loop device/);
  }
  await mounts.unmount(at('target'));
  await mounts.erofs({ image: at('merged/image'), target: at('target'), by: 'loop' });
  assert.equal(readFileSync(at('target/name'), 'utf8'), 'content');
  await mounts.unmount(at('target'));
  await released(root);
});
