/** What is carried into the machine, as a disk: crisp's tarball, unpacked, .deb of it, kind's recipe, a registry's files with images. */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { buildImage, busyboxEntries, busyboxImage, pushImage } from '../harness/images.ts';
import { startRegistry } from '../image-service/registry.ts';

const PROJECT = join(import.meta.dirname, '../..');
const MIB = 1 << 20;

/** The address of the machine's registry. */
export const REGISTRY = '127.0.0.1:5000';

function run(command: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { cwd: PROJECT, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`);
}

/** An image that takes its time: layers of what cannot be packed, and of many files; `/sums` has their MD5 sums. */
function largeImage() {
  const block = (name: string, size: number) => ({ name, content: randomBytes(size) });
  const one = [block('large-one', 6 * MIB)];
  const many = Array.from({ length: 600 }, (_, n) => block(`many/${n % 20}/${n}`, 700));
  const two = [block('large-two', 6 * MIB)];
  const sums = [...one, ...many, ...two].map(
    ({ name, content }) => `${createHash('md5').update(content).digest('hex')}  ${name}\n`,
  );
  return buildImage({
    layers: [
      { entries: busyboxEntries() },
      { entries: one },
      { entries: many, compression: 'zstd' },
      { entries: [...two, { name: 'sums', content: sums.join('') }] },
    ],
    config: { Env: ['PATH=/bin'], Cmd: ['sh'] },
  });
}

/**
 * Layers of the image `deep`: more than the 8 loop devices of a machine that boots. At a load of 20 of the host a pull of 40 takes
 * five minutes; of 200, the most that one overlay takes before Linux 6.7, about, it was not through in ten.
 */
export const DEEP = Number(process.env['CRISP_NODE_LAYERS'] ?? 12);

/**
 * Each layer adds a file of its own, and writes its number into one that all have. None has an entry of the root, as with most
 * builders, and every tenth has none of its directory: they are completed against the layers below, which are mounted for that.
 */
const deepImage = () =>
  buildImage({
    layers: [
      { entries: busyboxEntries() },
      ...Array.from({ length: DEEP - 1 }, (_, n) => ({
        entries: [
          ...(n % 10 === 9 ? [] : [{ name: 'deep', type: 'directory' as const }]),
          { name: `deep/${n + 1}`, content: `${n + 1}\n` },
          { name: 'top', content: `${n + 1}\n` },
        ],
      })),
    ],
    config: { Env: ['PATH=/bin'], Cmd: ['sh'] },
  });

/** The version of the second .deb. */
export const NEWER = '99.0.0';

/** The size of the disk. Sparse, with space for what the tests write there. */
const DISK = '1G';

const SOURCES = [
  ...['package.json', 'core', 'image-service', 'linux', 'test/node/many-layers.ts'],
  ...['node_modules/koffi', 'node_modules/@koromix'],
];

/** Builds the disk in the directory; its path. Unpacked here: the machine, which is emulated, would take a quarter of a minute. */
export async function makeKit(directory: string): Promise<string> {
  const kit = join(directory, 'kit');
  mkdirSync(kit, { recursive: true });
  run(process.execPath, [join(PROJECT, 'deploy/dist/main.ts'), '--output', join(directory, 'dist')]);
  for (const name of ['crisp', 'sources']) mkdirSync(join(kit, name));
  const unpack =
    'tar -xzf "$1"/dist/*.tar.gz --no-same-owner --strip-components=1 -C "$2"/crisp && rm -r "$1"/dist';
  run('sh', ['-c', unpack, 'sh', directory, kit]);
  const debs = [
    join(PROJECT, 'deploy/packages/main.ts'),
    '--fast',
    '--format',
    'deb',
    '--arch',
    process.arch,
  ];
  for (const version of [[], ['--version', NEWER]])
    run(process.execPath, [...debs, '--output', join(kit, 'packages'), ...version]);
  run('cp', ['-R', join(PROJECT, 'deploy/kind'), kit]);
  // What `many-layers.ts` imports.
  run('cp', ['-R', '--parents', ...SOURCES, join(kit, 'sources')]);
  await using registry = await startRegistry(join(directory, 'registry'));
  await pushImage(registry.url, 'busybox', 'latest', busyboxImage());
  await pushImage(registry.url, 'deep', 'latest', deepImage());
  for (const name of ['large-0', 'large-1', 'large-2'])
    await pushImage(registry.url, name, 'latest', largeImage());
  run('mv', [join(directory, 'registry/data'), join(kit, 'registry')]);
  const disk = join(directory, 'kit.img');
  run('truncate', ['-s', DISK, disk]);
  run('mkfs.ext4', ['-q', '-F', '-m', '0', '-O', '^has_journal', '-d', kit, disk]);
  run('rm', ['-r', kit]);
  return disk;
}
