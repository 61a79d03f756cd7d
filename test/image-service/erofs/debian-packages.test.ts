/**
 * The trees of ten Debian packages, as layers of one image. The files are those of the packages that are installed here (they
 * come with Debian, or by `bin/setup --system`), packed by GNU tar with all that it can keep: no network is needed.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { lstatSync } from 'node:fs';
import test from 'node:test';
import { assertSound, Ground } from './forms.ts';
import { timeless } from './layers.ts';
import { assertSameTree, type SeenTree, seeTree } from './tree-view.ts';

const WANTED = 10;
/** Of those that are installed the first ten: hard links, links, setuid programs, many tiny files. */
const PACKAGES = [
  'perl-base',
  'passwd',
  'tzdata',
  'iproute2',
  'e2fsprogs',
  'mount',
  'nftables',
  'iptables',
  'procps',
  'login',
  'xfsprogs',
  'dpkg',
  'util-linux',
  'linux-libc-dev',
  'libc6-dev',
  'bash',
];

/** Files, links and directories of an installed package that are there: an installation may leave out documentation. */
function filesOf(name: string): string[] {
  const { status, stdout } = spawnSync('dpkg-query', ['-L', name], { encoding: 'utf8' });
  if (status !== 0) return [];
  const paths = stdout.split('\n').filter((path) => path.startsWith('/') && path !== '/.');
  return paths.filter((path) => lstatSync(path, { throwIfNoEntry: false }));
}

function pack(paths: readonly string[]): Buffer {
  const options = [
    '--format=pax',
    '--xattrs',
    '--acls',
    '--numeric-owner',
    '--no-recursion',
    '--null',
    '-T',
    '-',
  ];
  const input = ['/', ...paths].map((path) => `.${path}\0`).join('');
  return execFileSync('tar', ['-C', '/', ...options, '-cf', '-'], { input, maxBuffer: 1 << 30 });
}

test('ten Debian packages: each image shows what the directory has, and all of them merged', async () => {
  await using ground = await Ground.make();
  const trees = PACKAGES.map((name) => ({ name, paths: filesOf(name) })).filter(
    ({ paths }) => paths.length > 0,
  );
  const chosen = trees.slice(0, WANTED);
  assert.equal(chosen.length, WANTED, `installed: ${trees.map(({ name }) => name)}`);
  const directories: string[] = [];
  const mounted: string[] = [];
  const same = (actual: SeenTree, expected: SeenTree, what: string) =>
    assertSameTree(timeless(actual, expected), timeless(expected, expected), what);
  for (const { name, paths } of chosen) {
    const tar = pack(paths);
    const { directory } = await ground.unpack(tar, directories);
    const image = await ground.write(tar, mounted);
    assertSound(image);
    const target = await ground.mount(image.path);
    const expected = seeTree(directory);
    same(seeTree(target), expected, name);
    console.log(`# ${name.padEnd(16)} ${expected.size} entries, image of ${image.written.bytes >> 10} KiB`);
    directories.unshift(directory);
    mounted.unshift(target);
  }
  same(seeTree(await ground.overlay(mounted)), seeTree(await ground.overlay(directories)), 'merged');
});
