/** Absolute names and targets of links, as Bazel, kaniko and `tar -P` write them: below the root, in every kind of archive. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { buildImage, digestOf, type EntrySpec, makeTar, pushImage } from '../harness/images.ts';
import { ground } from './ground.ts';
import { operation, startService, testDirectory } from './service.ts';
import { unpack } from './unpack-here.ts';

const absolute: readonly EntrySpec[] = [
  { name: '/' },
  { name: '/usr/' },
  { name: '/usr/bin/' },
  { name: '/usr/bin/app', content: 'app', mode: 0o755 },
  { name: '//etc///passwd', content: 'root' },
  { name: '/./etc/./group', content: 'group' },
  { name: '/var/.wh.x' },
  { name: '/srv/.wh..wh..opq' },
  { name: '/usr/bin/other', type: 'hardlink', link: '/usr/bin/app' },
  { name: '/usr/bin/third', type: 'hardlink', link: './usr//bin/app' },
];

const inode = (...path: string[]): number => lstatSync(join(...path)).ino;

test('absolute names are below the root of the layer, whatever its compression and format', async () => {
  await using at = await ground();
  await using opened = await startService(at.root, { layers: 'directory' });
  for (const compression of ['none', 'gzip', 'zstd'] as const) {
    for (const format of ['oci', 'docker'] as const) {
      if (format === 'docker' && compression === 'zstd') continue;
      const tag = `${format}-${compression}`;
      const below = [{ name: './' }, { name: 'var/x', content: 'x' }, { name: 'srv/old', content: 'old' }];
      const entries = [...absolute, { name: `/${tag}` }];
      const image = buildImage({ layers: [{ entries: below }, { entries, compression }], format });
      await pushImage(at.registry.url, 'app', tag, image);
      const { record } = await opened.service.pull(
        { reference: `${at.registry.host}/app:${tag}` },
        operation('pull'),
      );
      const layer = join(at.root, 'layers', record.layers[1] ?? '', 'fs');
      assert.equal(readFileSync(join(layer, 'usr/bin/app'), 'utf8'), 'app');
      assert.equal(readFileSync(join(layer, 'etc/passwd'), 'utf8'), 'root');
      assert.equal(readFileSync(join(layer, 'etc/group'), 'utf8'), 'group');
      assert.ok(lstatSync(join(layer, 'var/x')).isCharacterDevice(), 'a whiteout');
      for (const name of ['other', 'third'])
        assert.equal(inode(layer, 'usr/bin', name), inode(layer, 'usr/bin/app'));
    }
  }
});

test('what GNU tar writes with -P is unpacked like what it writes without', async () => {
  using directory = testDirectory();
  const from = join(directory.path, 'from');
  mkdirSync(join(from, 'd'), { recursive: true });
  writeFileSync(join(from, 'd/file'), 'content');
  const tar = execFileSync('tar', ['-P', '-C', '/', '-cf', '-', from]);
  const names = execFileSync('tar', ['-tPf', '-'], { input: tar }).toString();
  assert.match(names, /^\//);
  const base = join(directory.path, 'layers');
  mkdirSync(base);
  const { directory: layer } = await unpack(base, tar);
  assert.equal(readFileSync(join(layer, from, 'd/file'), 'utf8'), 'content');
});

test('a hard link to an absolute target: in a lower layer, to a symlink, by way of a symlink', async () => {
  using directory = testDirectory();
  const { directory: lower } = await unpack(directory.path, [
    { name: './' },
    { name: 'usr/bin/perlbug', content: 'perl', mode: 0o755 },
    { name: 'bin', type: 'symlink', link: 'usr/bin' },
    { name: 'secret', type: 'symlink', link: '/etc/shadow' },
  ]);
  const { directory: layer } = await unpack(
    directory.path,
    [
      { name: '/usr/bin/perlthanks', type: 'hardlink', link: '/usr/bin/perlbug' },
      { name: '/usr/bin/again', type: 'hardlink', link: '/bin/perlbug' },
      { name: '/own', content: 'own' },
      { name: '/alias', type: 'symlink', link: '/own' },
      { name: '/same', type: 'hardlink', link: '/alias' },
      { name: '/copied', type: 'hardlink', link: '//secret' },
    ],
    [lower],
  );
  const [bug, thanks, again] = ['perlbug', 'perlthanks', 'again'].map((n) => inode(layer, 'usr/bin', n));
  assert.ok(bug === thanks && bug === again);
  assert.equal(readFileSync(join(layer, 'usr/bin/perlthanks'), 'utf8'), 'perl');
  assert.equal(inode(layer, 'same'), inode(layer, 'alias'), 'the link itself, not its target');
  assert.equal(readlinkSync(join(layer, 'copied')), '/etc/shadow');
});

test('names and targets that lead outside stay refused', async () => {
  using directory = testDirectory();
  for (const name of ['/../x', 'usr/../../x', '/..', '//../etc/x', '/usr/../x', '/.wh...'])
    await assert.rejects(
      unpack(directory.path, [{ name: './' }, { name, type: 'file' }]),
      (error) => hasCode(error, 'InvalidArgument'),
      name,
    );
  for (const link of ['/../x', '/usr/../../x', '/', '//', '/.', '/missing'])
    await assert.rejects(
      unpack(directory.path, [{ name: './' }, { name: 'l', type: 'hardlink', link }]),
      (error) => hasCode(error, 'InvalidArgument'),
      link,
    );
  await unpack(directory.path, [
    { name: './' },
    { name: '/out', type: 'symlink', link: '../../../..' },
    { name: '/out/escaped', content: 'x' },
  ]);
  assert.equal(existsSync('/escaped'), false);
  assert.equal(existsSync(join(directory.path, 'escaped')), false);
});

test('the layer of a checkpoint with absolute names', async () => {
  await using at = await ground();
  await using opened = await startService(at.root);
  const image = buildImage({
    layers: [{ entries: [{ name: './' }, { name: 'usr/base', content: 'base' }] }],
  });
  await pushImage(at.registry.url, 'app', 'v1', image);
  const { id } = await opened.service.pull({ reference: `${at.registry.host}/app:v1` }, operation('pull'));
  const archive = join(at.directory, 'layer.tar');
  const restore = async (entries: readonly EntrySpec[]): Promise<string> => {
    writeFileSync(archive, makeTar(entries));
    const directory = join(at.directory, 'container');
    await opened.service.rootfs.restoreLayer({ image: id, directory, archive }, operation('restore'));
    return join(directory, 'upper');
  };
  const link = { name: '/usr/again', type: 'hardlink', link: '/usr/base' } as const;
  const upper = await restore([{ name: '/usr/own', content: 'own' }, { name: '//var//.wh.x' }, link]);
  assert.equal(readFileSync(join(upper, 'usr/own'), 'utf8'), 'own');
  assert.equal(inode(upper, 'usr/again'), inode(upper, 'usr/base'));
  assert.ok(lstatSync(join(upper, 'var/x')).isCharacterDevice());
  await assert.rejects(restore([{ name: '/../up', content: 'x' }]), (error) =>
    hasCode(error, 'InvalidArgument'),
  );
});

test('an archive of images with absolute names, also of its links', async () => {
  await using at = await ground();
  await using opened = await startService(at.root);
  const layer = makeTar(absolute);
  const config = JSON.stringify({
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: [digestOf(layer), digestOf(layer)] },
  });
  const names = ['/one/layer.tar', 'two/layer.tar'];
  const bytes = makeTar([
    { name: '/' },
    { name: '//one//layer.tar', content: layer },
    { name: '/two/layer.tar', type: 'symlink', link: '/one/layer.tar' },
    { name: '/three/layer.tar', type: 'hardlink', link: '/one/layer.tar' },
    { name: './c.json', content: config },
    {
      name: '/manifest.json',
      content: JSON.stringify([{ Config: '/c.json', RepoTags: ['app:v1'], Layers: names }]),
    },
  ]);
  const source = Readable.from([bytes]);
  const [image] = await opened.service.import({ source }, operation('import'));
  assert.equal(image?.id, digestOf(Buffer.from(config)));
  for (const spec of [
    { name: '/../x', content: 'x' },
    { name: '/one/layer.tar', content: 'twice' },
    { name: '/l', type: 'symlink', link: '/../x' },
    { name: '/l', type: 'hardlink', link: '/../x' },
  ] as const) {
    const hostile = makeTar([{ name: 'one/layer.tar', content: layer }, spec]);
    await assert.rejects(
      opened.service.import({ source: Readable.from([hostile]) }, operation('import')),
      (error) => hasCode(error, 'InvalidArgument') && !error.hint.includes('push'),
    );
  }
});
