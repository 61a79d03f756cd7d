/** Layers that are EROFS images: mounted once, found again, unmounted, and never the wrong one. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { after, type TestContext } from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import { silentLog } from '#core/operation.ts';
import { fakeKernel } from '#linux/fake/index.ts';
import { openKernel } from '#linux/index.ts';
import type { Mounts } from '#linux/ports/kernel.ts';
import { type ImageFile, LayerMounts } from '../../image-service/store/layer-mounts.ts';
import type { LayerForm } from '../../image-service/store/layer-record.ts';
import { probeImage } from '../../image-service/store/probe-image.ts';
import { scratch } from '../linux/scratch.ts';

const real = await openKernel();
after(() => real.close());
const damaged = (pattern: RegExp) => (error: unknown) =>
  hasCode(error, 'DataLoss') && pattern.test(error.message);
const open = (directory: string, mounts: Mounts, form: LayerForm = { form: 'erofs', by: 'file' }) =>
  new LayerMounts({ mounts, log: silentLog, directory, form: () => form });

function place(t: TestContext, mounts: Mounts) {
  const root = scratch(t, mounts);
  const image = (name: string): ImageFile => {
    const path = join(root, name);
    writeFileSync(path, probeImage('name', name));
    return { path, bytes: 4096 };
  };
  const directory = join(root, 'layers');
  /** Mount points that are mounted; all that exist. */
  const targets = () =>
    mounts.below(directory).flatMap(({ target }) => (target === directory ? [] : [target]));
  const names = () => (existsSync(directory) ? readdirSync(directory) : []);
  return { root, image, directory, targets, names };
}

for (const by of ['file', 'loop'] as const) {
  test(`by ${by}: mounted once for all, found by the next daemon, unmounted when the layer goes`, async (t) => {
    const { mounts } = real;
    const { image, directory, targets, names } = place(t, mounts);
    const [one, two, three] = [image('one'), image('two'), image('three')];
    const form: LayerForm = { form: 'erofs', by };
    const layers = open(directory, mounts, form);
    const paths = await Promise.all([1, 2, 3].map(() => layers.ensure('one', one)));
    assert.equal(new Set(paths).size, 1);
    assert.deepEqual(targets(), [paths[0]]);
    assert.equal(readFileSync(join(paths[0] ?? '', 'name'), 'utf8'), 'one');
    await layers.ensure('two', two);
    await layers.ensure('three', three);
    assert.equal(statSync(directory).mode & 0o777, 0o700);

    const next = open(directory, mounts, form);
    mkdirSync(join(directory, 'left'));
    await next.recover(
      new Map([
        ['one', one],
        ['two', two],
      ]),
    );
    assert.deepEqual(next.mounted.toSorted(), ['one', 'two']);
    assert.equal(targets().length, 2, 'the layer that no longer exists is unmounted');
    assert.equal(await next.ensure('one', one), paths[0]);
    assert.equal(targets().length, 2);
    await next.release('one');
    await next.release('one');
    assert.deepEqual([targets().length, names().length], [1, 1]);
    await next.close((key) => key === 'two');
    assert.equal(targets().length, 1);
    await next.close(() => false);
    assert.deepEqual([mounts.below(directory), names()], [[], []]);
  });
}

test('200 layers in use at once by loop: the devices beyond those of the start are made, and all are given back', async (t) => {
  const { mounts } = real;
  const { image, directory, targets } = place(t, mounts);
  const layers = open(directory, mounts, { form: 'erofs', by: 'loop' });
  const names = Array.from({ length: 200 }, (_, n) => `layer-${n}`);
  const paths = await Promise.all(names.map((name) => layers.ensure(name, image(name))));
  for (const [n, path] of paths.entries())
    assert.equal(readFileSync(join(path, 'name'), 'utf8'), names[n], 'no device is taken twice');
  const sources = mounts.below(directory).flatMap(({ type, source }) => (type === 'erofs' ? [source] : []));
  assert.equal(new Set(sources).size, 200);
  await layers.close(() => false);
  assert.deepEqual(targets(), []);
  // test/leftovers.ts looks for the devices behind the run.
});

test('a mount outlives its image for those who have it, and another file in its place gets a mount of its own', async (t) => {
  const { mounts } = real;
  const { root, image, directory, targets } = place(t, mounts);
  const layers = open(directory, mounts);
  const first = await layers.ensure('key', image('one'));
  const overlay = join(root, 'overlay');
  mkdirSync(overlay);
  mkdirSync(join(root, 'lower'));
  await mounts.overlay({ target: overlay, lower: [first, join(root, 'lower')] });
  const replaced = image('replaced');
  renameSync(replaced.path, join(root, 'one'));
  const second = await layers.ensure('key', { path: join(root, 'one'), bytes: 4096 });
  assert.notEqual(second, first);
  assert.deepEqual(targets(), [second]);
  assert.equal(readFileSync(join(second, 'name'), 'utf8'), 'replaced');
  assert.equal(readFileSync(join(overlay, 'name'), 'utf8'), 'one');
  renameSync(image('again').path, join(root, 'one'));
  const next = open(directory, mounts);
  await next.recover(new Map([['key', { path: join(root, 'one'), bytes: 4096 }]]));
  assert.deepEqual([next.mounted, targets()], [[], []], 'nor is a stale one found again');
});

test('while a container is created, the mounts that it uses stay, also those of a layer that is replaced or removed', async (t) => {
  const { mounts } = real;
  const { root, image, directory, targets, names } = place(t, mounts);
  const layers = open(directory, mounts);
  const file = { path: join(root, 'one'), bytes: 4096 };
  const creation = layers.hold(['key']);
  const first = await layers.ensure('key', image('one'));
  renameSync(image('replaced').path, file.path);
  const second = await layers.ensure('key', file);
  const content = (target: string) => readFileSync(join(target, 'name'), 'utf8');
  assert.deepEqual([content(first), content(second)], ['one', 'replaced']);
  const other = layers.hold(['key']);
  creation[Symbol.dispose]();
  creation[Symbol.dispose]();
  await layers.release('key');
  assert.deepEqual([content(first), content(second)], ['one', 'replaced'], 'another holds it');
  assert.deepEqual(layers.mounted, ['key']);
  other[Symbol.dispose]();
  await layers.release('key');
  assert.deepEqual([targets(), names(), layers.mounted], [[], [], []]);
  // One that is used again meanwhile is not unmounted by those who had it before.
  using _again = layers.hold(['key']);
  await layers.ensure('key', file);
  await layers.release('key');
  const third = await layers.ensure('key', file);
  _again[Symbol.dispose]();
  assert.equal(await layers.ensure('key', file), third);
  assert.equal(content(third), 'replaced');
});

test('a mount that someone else has removed is made again', async (t) => {
  const { mounts } = real;
  const { image, directory } = place(t, mounts);
  const layers = open(directory, mounts);
  const target = await layers.ensure('key', image('one'));
  await mounts.unmount(target);
  assert.deepEqual(readdirSync(target), []);
  assert.equal(await layers.ensure('key', image('one')).then((path) => readdirSync(path).join()), 'name');
});

test('a container that binds the directories above recursively gets no layer', async (t) => {
  const { mounts } = real;
  const { root, image, directory } = place(t, mounts);
  const target = await open(directory, mounts).ensure('key', image('one'));
  mkdirSync(join(root, 'bound'));
  await mounts.bind({ source: root, target: join(root, 'bound'), recursive: true, propagation: 'rslave' });
  assert.ok(!mounts.below(join(root, 'bound')).some(({ type }) => type === 'erofs'));
  mkdirSync(join(root, 'one-layer'));
  await mounts.bind({ source: target, target: join(root, 'one-layer') });
  assert.deepEqual(readdirSync(join(root, 'one-layer')), ['name'], 'each by itself can be bound');
});

test('an image that is missing, shorter, or none is DataLoss with the remedy, and nothing is left', async (t) => {
  const { mounts } = real;
  const { root, image, directory, targets, names } = place(t, mounts);
  const layers = open(directory, mounts);
  const none = { path: join(root, 'none'), bytes: 4096 };
  await assert.rejects(layers.ensure('key', none), damaged(/is missing: .*none$/));
  const short = image('short');
  truncateSync(short.path, 2048);
  await assert.rejects(layers.ensure('key', short), damaged(/has 2048 bytes, not 4096/));
  await assert.rejects(
    layers.ensure('key', { ...short, bytes: 2048 }),
    (error) => damaged(/2048 bytes of 4096/)(error) && error instanceof CrispError && /pull/.test(error.hint),
  );
  writeFileSync(none.path, 'x'.repeat(4096));
  await assert.rejects(layers.ensure('key', none), damaged(/not an EROFS image/));
  assert.deepEqual([layers.mounted, targets(), names()], [[], [], []]);
  await layers.ensure('key', image('none'));
  truncateSync(none.path, 4000);
  await assert.rejects(layers.ensure('key', none), damaged(/has 4000 bytes/));
});

test('an image that is taken away, or replaced, between the look at it and the mount is DataLoss', async (t) => {
  const { mounts } = real;
  const { root, image, directory, targets, names } = place(t, mounts);
  const one = image('one');
  let takeAway: string | undefined;
  const erofs: Mounts['erofs'] = async (request) => {
    renameSync(one.path, join(root, 'aside'));
    try {
      return await mounts.erofs(request);
    } finally {
      if (takeAway !== undefined) renameSync(takeAway, one.path);
    }
  };
  const layers = open(directory, { ...mounts, erofs });
  await assert.rejects(layers.ensure('one', one), damaged(/is missing: .*one$/));
  image('one');
  takeAway = image('other').path;
  await assert.rejects(layers.ensure('one', one), damaged(/was replaced while it was being mounted: .*one$/));
  assert.deepEqual([layers.mounted, targets(), names()], [[], [], []]);
});

test('a failure is reported to all who wait, and the next call tries again; the other way where the first cannot', async (t) => {
  const { mounts, faults } = fakeKernel();
  const { image, directory, targets, names } = place(t, mounts);
  const one = image('one');
  const layers = open(directory, mounts, { form: 'directory', reason: 'as configured' });
  const busy = new CrispError('ResourceExhausted', 'no free loop device');
  faults.fail('mounts.erofs', new CrispError('FailedPrecondition', 'not from files'));
  faults.fail('mounts.erofs', busy);
  const outcomes = await Promise.allSettled([1, 2].map(() => layers.ensure('one', one)));
  for (const outcome of outcomes) assert.equal(outcome.status === 'rejected' && outcome.reason, busy);
  assert.deepEqual([targets(), names()], [[], []]);
  faults.fail('mounts.erofs', new CrispError('FailedPrecondition', 'not from files'));
  await layers.ensure('one', one);
  assert.match(mounts.below(directory).at(-1)?.source ?? '', /^\/dev\/loop/);
  assert.equal(faults.calls.filter((call) => call === 'mounts.erofs').length, 4);

  faults.fail('mounts.unmount', new CrispError('KernelRefused', 'no'));
  await assert.rejects(layers.release('one'), /no/);
  assert.deepEqual(layers.mounted, ['one']);
  await layers.release('one');
  assert.deepEqual([layers.mounted, targets()], [[], []]);
});

test('with SELinux the files of a layer have the label for those that containers only read', async (t) => {
  const { mounts } = fakeKernel();
  const { image, directory } = place(t, mounts);
  const context = 'system_u:object_r:container_ro_file_t:s0';
  const form = (): LayerForm => ({ form: 'erofs', by: 'file' });
  const layers = new LayerMounts({ mounts, log: silentLog, directory, form, context });
  await layers.ensure('one', image('one'));
  assert.match(
    mounts.below(directory).at(-1)?.options ?? '',
    /context=system_u:object_r:container_ro_file_t:s0$/,
  );
});
