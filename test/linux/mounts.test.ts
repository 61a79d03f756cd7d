import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { files } from '#linux/fs/files.ts';
import { mounts } from '#linux/mount/mounts.ts';
import { scratch } from './scratch.ts';

test('an overlay of 130 layers with long names, odd characters, an upper layer and without one', async (t) => {
  const root = scratch(t, mounts);
  const lower = Array.from({ length: 130 }, (_, n) => {
    const layer = join(root, `layer ${n}:,\\${'x'.repeat(n % 200)}`);
    mkdirSync(layer);
    writeFileSync(join(layer, `file-${n}`), `${n}`);
    writeFileSync(join(layer, 'same'), `${n}`);
    return layer;
  });
  for (const name of ['rw', 'ro', 'upper', 'work']) mkdirSync(join(root, name));
  await mounts.overlay({
    target: join(root, 'rw'),
    lower,
    upper: join(root, 'upper'),
    work: join(root, 'work'),
  });
  assert.equal(readdirSync(join(root, 'rw')).length, 131);
  assert.equal(readFileSync(join(root, 'rw', 'same'), 'utf8'), '0', 'the first layer is the topmost');
  writeFileSync(join(root, 'rw', 'new'), 'x');
  assert.ok(existsSync(join(root, 'upper', 'new')));
  await mounts.overlay({ target: join(root, 'ro'), lower });
  assert.throws(() => writeFileSync(join(root, 'ro', 'new'), 'x'), { code: 'EROFS' });
  assert.equal(mounts.below(root).length, 2);
  await mounts.unmount(join(root, 'rw'));
  await mounts.unmount(join(root, 'rw'));
  assert.deepEqual(
    mounts.below(root).map(({ target, type }) => [target, type]),
    [[join(root, 'ro'), 'overlay']],
  );
});

test('the line of an overlay of 500 layers in mountinfo is one that every program reads', async (t) => {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (major * 100 + minor < 607) return t.skip('needs lowerdir+ of Linux 6.7');
  const root = scratch(t, mounts);
  const lower = Array.from({ length: 500 }, (_, n) => join(root, `${n}-${'x'.repeat(130)}`));
  for (const [n, layer] of lower.entries()) {
    mkdirSync(layer);
    writeFileSync(join(layer, `file-${n}`), '');
  }
  mkdirSync(join(root, 'target'));
  await mounts.overlay({ target: join(root, 'target'), lower });
  assert.equal(readdirSync(join(root, 'target')).length, 500);
  const lines = readFileSync('/proc/self/mountinfo').toString().split('\n');
  const line = lines.find((one) => one.includes(` ${root}/target `)) ?? '';
  assert.ok(line !== '' && line.length < 1 << 16, `${line.length} bytes`);
});

test('a volatile overlay is one where the kernel can, and its trees are removed like others', async (t) => {
  const root = scratch(t, mounts);
  for (const name of ['a', 'upper', 'work', 'target']) mkdirSync(join(root, name));
  const at = (name: string) => join(root, name);
  await mounts.overlay({
    target: at('target'),
    lower: [at('a')],
    upper: at('upper'),
    work: at('work'),
    volatile: true,
  });
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const [made] = mounts.below(at('target'));
  if (major * 100 + minor >= 510) assert.match(made?.options ?? '', /\bvolatile\b/);
  writeFileSync(at('target/file'), 'x');
  await mounts.unmount(at('target'));
  assert.equal(readFileSync(at('upper/file'), 'utf8'), 'x');
  await files.removeTree(at('work'));
  assert.equal(existsSync(at('work')), false);
});

test('a refused overlay names the culprit and leaves nothing', async (t) => {
  const root = scratch(t, mounts);
  for (const name of ['a', 'b', 'target']) mkdirSync(join(root, name));
  const missing = join(root, 'missing');
  await assert.rejects(
    mounts.overlay({ target: join(root, 'target'), lower: [join(root, 'a'), missing] }),
    (error) => hasCode(error, 'NotFound') && error.message.includes(missing),
  );
  await assert.rejects(
    mounts.overlay({
      target: join(root, 'target'),
      lower: [join(root, 'a'), join(root, 'b')],
      options: ['nonsense=1'],
    }),
    (error) => hasCode(error, 'KernelRefused') && /nonsense/.test(error.message),
  );
  await assert.rejects(mounts.overlay({ target: join(root, 'target'), lower: [] }), (e) =>
    hasCode(e, 'InvalidArgument'),
  );
  await assert.rejects(mounts.overlay({ target: missing, lower: [join(root, 'a')] }), (e) =>
    hasCode(e, 'NotFound'),
  );
  assert.deepEqual(mounts.below(root), []);
});

test('an overlay of one layer and nothing above it is read-only', async (t) => {
  const root = scratch(t, mounts);
  for (const name of ['a', 'target']) mkdirSync(join(root, name));
  writeFileSync(join(root, 'a', 'file'), 'x');
  await mounts.overlay({ target: join(root, 'target'), lower: [join(root, 'a')] });
  assert.equal(readFileSync(join(root, 'target', 'file'), 'utf8'), 'x');
  assert.throws(() => writeFileSync(join(root, 'target', 'new'), ''), { code: 'EROFS' });
});

test('binds: read-only covers the mount alone, recursion and propagation are as asked', async (t) => {
  const root = scratch(t, mounts);
  for (const name of ['source', 'source/sub', 'target', 'flat', 'shared']) mkdirSync(join(root, name));
  await mounts.tmpfs({ target: join(root, 'source', 'sub'), bytes: 65536, mode: 0o700, noexec: true });
  assert.equal(
    statfsSync(join(root, 'source', 'sub')).blocks * statfsSync(join(root, 'source', 'sub')).bsize,
    65536,
  );
  await mounts.bind({
    source: join(root, 'source'),
    target: join(root, 'target'),
    readonly: true,
    recursive: true,
  });
  assert.throws(() => writeFileSync(join(root, 'target', 'x'), ''), { code: 'EROFS' });
  writeFileSync(join(root, 'target', 'sub', 'x'), '');
  await mounts.bind({ source: join(root, 'source'), target: join(root, 'flat') });
  assert.deepEqual(readdirSync(join(root, 'flat', 'sub')), []);
  await mounts.bind({ source: join(root, 'source'), target: join(root, 'shared'), propagation: 'rshared' });
  const tags = mounts.below(join(root, 'shared')).map((mount) => mount.tags.join());
  assert.match(tags.join(), /^shared:\d+$/);
});

test('a busy mount is detached with all below it', async (t) => {
  const root = scratch(t, mounts);
  mkdirSync(join(root, 'busy'));
  await mounts.tmpfs({ target: join(root, 'busy') });
  mkdirSync(join(root, 'busy', 'inner'));
  await mounts.tmpfs({ target: join(root, 'busy', 'inner') });
  await mounts.unmount(join(root, 'busy'));
  assert.deepEqual(mounts.below(root), []);
});

test('removeTree: small, large, deep beyond the path limit, foreign names; never another file system', async (t) => {
  const root = scratch(t, mounts);
  await files.removeTree(join(root, 'missing'));
  const large = join(root, 'large');
  for (let d = 0; d < 20; d++) {
    mkdirSync(join(large, `d${d}`), { recursive: true });
    for (let f = 0; f < 20; f++)
      writeFileSync(Buffer.concat([Buffer.from(join(large, `d${d}`, `f${f}`)), Buffer.of(0xff)]), '');
  }
  await files.removeTree(large);
  const cwd = process.cwd();
  const deep = join(root, 'deep');
  mkdirSync(deep);
  process.chdir(deep);
  for (let n = 0; n < 60; n++) {
    mkdirSync('y'.repeat(200));
    process.chdir('y'.repeat(200));
    writeFileSync('file', '');
  }
  process.chdir(cwd);
  await files.removeTree(deep);
  assert.deepEqual(readdirSync(root), []);
  for (const size of [1, 100]) {
    const crossed = join(root, `crossed-${size}`);
    mkdirSync(join(crossed, 'mounted'), { recursive: true });
    await mounts.tmpfs({ target: join(crossed, 'mounted') });
    for (let n = 0; n < size; n++) writeFileSync(join(crossed, 'mounted', `${n}`), '');
    await assert.rejects(
      files.removeTree(crossed),
      (error) => hasCode(error, 'KernelRefused') && error.errno === 'EXDEV',
    );
    assert.equal(readdirSync(join(crossed, 'mounted')).length, size);
  }
});

test('writeAtomic replaces whole files and leaves no temporary ones, also on failure', async (t) => {
  const root = scratch(t, mounts);
  await files.writeAtomic(join(root, 'a'), 'one', { durable: true, mode: 0o600 });
  await files.writeAtomic(join(root, 'a'), Buffer.from('two'));
  assert.equal(readFileSync(join(root, 'a'), 'utf8'), 'two');
  mkdirSync(join(root, 'small'));
  await mounts.tmpfs({ target: join(root, 'small'), bytes: 4096 });
  const full = files.writeAtomic(join(root, 'small', 'b'), Buffer.alloc(1 << 20));
  await assert.rejects(full, (error) => hasCode(error, 'ResourceExhausted') && error.errno === 'ENOSPC');
  assert.deepEqual(readdirSync(join(root, 'small')), []);
  await assert.rejects(files.writeAtomic(join(root, 'none', 'b'), ''), (error) => hasCode(error, 'NotFound'));
  await files.syncFilesystem(root);
  const stats = await files.statfs(join(root, 'small'));
  assert.equal(stats.total, 4096n);
  assert.equal(stats.type, 0x01021994);
});
