/** The probe at the start: which form layers get on this node. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, type TestContext } from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import { Operation } from '#core/operation.ts';
import { fakeKernel } from '#linux/fake/index.ts';
import { openKernel } from '#linux/index.ts';
import type { Mounts } from '#linux/ports/kernel.ts';
import { probeLayerForm } from '../../image-service/store/layer-form.ts';
import { probeImage } from '../../image-service/store/probe-image.ts';
import { scratch } from '../linux/scratch.ts';

const real = await openKernel();
after(() => real.close());

function place(t: TestContext, mounts: Mounts) {
  const base = scratch(t, mounts);
  const [root, state] = [join(base, 'root'), join(base, 'state')];
  mkdirSync(root);
  /** What is left in either. */
  const left = () => [
    ...mounts.below(base).map(({ target }) => target),
    ...readdirSync(root),
    ...(existsSync(state) ? readdirSync(state) : []),
  ];
  return { root, state, left };
}

/** Real mounts, whose EROFS images are refused as by a kernel that cannot. */
const without = (refused: readonly ('file' | 'loop')[]): Mounts => ({
  ...real.mounts,
  async erofs(request) {
    if (refused.includes(request.by))
      throw new CrispError('FailedPrecondition', `refused by ${request.by}`, { errno: 'ENOTBLK' });
    await real.mounts.erofs(request);
  },
});

test('from files where the kernel can, else through loop devices, else directories with the reason; nothing is left', async (t) => {
  const { root, state, left } = place(t, real.mounts);
  const { files } = real;
  const probe = (refused: readonly ('file' | 'loop')[], layers: 'auto' | 'erofs' | 'directory' = 'auto') =>
    probeLayerForm({ layers, root, state }, { mounts: without(refused), files }, new Operation('probe'));
  assert.deepEqual(await probe([]), { form: 'erofs', by: 'file' });
  assert.deepEqual(await probe(['file']), { form: 'erofs', by: 'loop' });
  const neither = await probe(['file', 'loop']);
  assert.ok(neither.form === 'directory');
  assert.match(neither.reason, /by file: .*refused by file.*; by loop: .*refused by loop/);
  assert.deepEqual(await probe([], 'directory'), {
    form: 'directory',
    reason: 'image.layers = "directory"',
  });
  assert.deepEqual(await probe(['file'], 'erofs'), { form: 'erofs', by: 'loop' });
  await assert.rejects(
    probe(['file', 'loop'], 'erofs'),
    (error) =>
      hasCode(error, 'FailedPrecondition') &&
      /image\.layers = "erofs".*refused by file.*refused by loop/.test(error.message) &&
      /image\.layers = "auto"/.test(error.hint),
  );
  assert.deepEqual(left(), []);
});

test('where the kernel reads files only through the page cache, loop devices are better, and files better than directories', async (t) => {
  const { root, state, left } = place(t, real.mounts);
  const tried: string[] = [];
  const probe = (refusesLoop: boolean) => {
    const mounts: Mounts = {
      ...real.mounts,
      async erofs(request) {
        tried.push(`${request.by} ${request.direct}`);
        if (request.direct)
          throw new CrispError('FailedPrecondition', 'directio: EINVAL', { errno: 'EINVAL' });
        if (request.by === 'loop' && refusesLoop) throw new CrispError('KernelRefused', 'no loop device');
        await real.mounts.erofs(request);
      },
    };
    const parts = { mounts, files: real.files };
    return probeLayerForm({ layers: 'auto', root, state }, parts, new Operation('probe'));
  };
  assert.deepEqual(await probe(false), { form: 'erofs', by: 'loop' });
  assert.deepEqual(await probe(true), { form: 'erofs', by: 'file' });
  const [first, second, third] = ['file true', 'loop false', 'file false'];
  assert.deepEqual(tried, [first, second, first, second, third]);
  assert.deepEqual(left(), []);
});

test('what a crash has left of a probe is removed by the next, also where it does not mount', async (t) => {
  const { mounts, files } = real;
  const { root, state, left } = place(t, mounts);
  const leave = async () => {
    for (const path of ['layer', 'merged']) mkdirSync(join(state, 'probe', path), { recursive: true });
    for (const path of ['upper', 'work']) mkdirSync(join(root, 'probe', path), { recursive: true });
    const image = join(root, 'probe/image');
    writeFileSync(image, probeImage('probe', 'x'));
    await mounts.erofs({ image, target: join(state, 'probe/layer'), by: 'file' });
    await mounts.overlay({
      target: join(state, 'probe/merged'),
      lower: [join(state, 'probe/layer')],
      upper: join(root, 'probe/upper'),
      work: join(root, 'probe/work'),
    });
  };
  await leave();
  assert.equal(left().length, 4);
  const probe = (layers: 'auto' | 'directory') =>
    probeLayerForm({ layers, root, state }, { mounts, files }, new Operation('probe'));
  assert.equal((await probe('auto')).form, 'erofs');
  assert.deepEqual(left(), []);
  await leave();
  assert.equal((await probe('directory')).form, 'directory');
  assert.deepEqual(left(), []);
});

test('where all loop devices are taken, or none can be made, layers are directories, and "erofs" says what to do', async (t) => {
  const { mounts, files, faults } = fakeKernel();
  const { root, state, left } = place(t, mounts);
  const missing = new CrispError('FailedPrecondition', 'not from files: ENOTBLK', { errno: 'ENOTBLK' });
  const taken = new CrispError('ResourceExhausted', 'no free loop device: each of 64 was taken', {
    errno: 'EBUSY',
  });
  const probe = (layers: 'auto' | 'erofs') => {
    // From files once; through loop devices with the image on the disk, and with the one in memory.
    for (const error of [missing, taken, taken]) faults.fail('mounts.erofs', error);
    return probeLayerForm({ layers, root, state }, { mounts, files }, new Operation('probe'));
  };
  const form = await probe('auto');
  assert.ok(form.form === 'directory');
  assert.match(form.reason, /by file: .*ENOTBLK; by loop: .*no free loop device/);
  await assert.rejects(
    probe('erofs'),
    (error) =>
      hasCode(error, 'FailedPrecondition') &&
      /image\.layers = "erofs".*no free loop device/.test(error.message) &&
      /free loop devices \(losetup --list\)/.test(error.hint),
  );
  assert.deepEqual(left(), []);
});

test('a full disk does not decide, an overlay that is refused does', async (t) => {
  const { mounts, files, faults } = fakeKernel();
  const { root, state, left } = place(t, mounts);
  const probe = () =>
    probeLayerForm({ layers: 'auto', root, state }, { mounts, files }, new Operation('probe'));
  const refused = new CrispError('KernelRefused', 'maximum fs stacking depth exceeded', { errno: 'EINVAL' });
  faults.fail('mounts.overlay', refused, 2);
  const form = await probe();
  assert.ok(form.form === 'directory');
  assert.match(form.reason, /by file: .*stacking depth.*by loop: .*stacking depth/);
  assert.deepEqual(left(), []);
  // Only the real mounts show the file: with the others the content is missed.
  const full = new CrispError('ResourceExhausted', 'no space', { errno: 'ENOSPC' });
  let tries = 0;
  const once: Mounts = {
    ...real.mounts,
    async erofs(request) {
      if (tries++ === 0) throw full;
      await real.mounts.erofs(request);
    },
  };
  const options = { layers: 'erofs', root, state } as const;
  const found = await probeLayerForm(options, { mounts: once, files }, new Operation('probe'));
  assert.deepEqual([found, tries], [{ form: 'erofs', by: 'file' }, 2]);
});
