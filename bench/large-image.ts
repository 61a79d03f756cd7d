/** The image for the pulls: five layers of real directories of this machine, compressed with gzip and with zstd. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { CrispError } from '#core/errors.ts';
import { type Blob, type BuiltImage, descriptor, digestOf, jsonBlob } from '../test/harness/images.ts';
import type { Compression } from './pulls.ts';

const LAYERS = 5;
const LAYER_BYTES = 66 << 20;
/** Used in this order. */
const TREES = ['/usr/share', '/usr/lib', '/usr/bin'];
const LARGEST_FILE = 32 << 20;
const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar';

export interface LargeImage {
  /** Uncompressed size of the layers, in bytes. */
  readonly bytes: number;
  readonly entries: number;
  readonly images: Readonly<Record<Compression, BuiltImage>>;
}

interface WalkedPath {
  readonly path: string;
  readonly bytes: number;
  readonly isFile: boolean;
}

/** Paths with their parents before them, without files of more bytes than `largest`. */
export function* walk(directory: string, largest = LARGEST_FILE): Generator<WalkedPath> {
  for (const entry of readdirSync(directory, { withFileTypes: true }).sort((a, b) =>
    a.name < b.name ? -1 : 1,
  )) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      yield { path, bytes: 0, isFile: false };
      yield* walk(path, largest);
    } else if (entry.isSymbolicLink()) yield { path, bytes: 0, isFile: false };
    else if (entry.isFile()) {
      const { size } = lstatSync(path);
      if (size <= largest) yield { path, bytes: size, isFile: true };
    }
  }
}

function* paths(): Generator<Omit<WalkedPath, 'isFile'>> {
  for (const tree of TREES) {
    yield { path: tree, bytes: 0 };
    yield* walk(tree);
  }
}

/** The paths of each layer, with the directories above the first one. Throws ResourceExhausted for a small machine. */
function layersOfPaths(): string[][] {
  const layers: string[][] = [];
  let layer: string[] = [];
  let bytes = 0;
  for (const { path, bytes: size } of paths()) {
    if (layer.length === 0) layer.push(...ancestors(path));
    layer.push(path);
    bytes += size;
    if (bytes < LAYER_BYTES) continue;
    layers.push(layer);
    if (layers.length === LAYERS) return layers;
    [layer, bytes] = [[], 0];
  }
  throw new CrispError(
    'ResourceExhausted',
    `${TREES.join(', ')} have less than ${(LAYERS * LAYER_BYTES) >> 20} MiB`,
    {
      hint: 'run the bench on a machine with more software installed',
    },
  );
}

function ancestors(path: string): string[] {
  const names = path.split('/').slice(1, -1);
  return names.map((_, index) => `/${names.slice(0, index + 1).join('/')}`);
}

function run(argv: readonly string[], input: string | undefined, output: string): void {
  const [program = '', ...args] = argv;
  const script = `exec "$0" "$@" > '${output}'`;
  const { status, stderr } = spawnSync('sh', ['-c', script, program, ...args], { input, encoding: 'utf8' });
  // GNU tar exits with 1 where a file changed while it was read: the archive is complete.
  if (status === 0 || (program === 'tar' && status === 1)) return;
  throw new CrispError('Internal', `${program} exited with ${status}: ${stderr.trim().slice(0, 400)}`);
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return `sha256:${hash.digest('hex')}`;
}

export interface PackedLayer {
  readonly diffId: string;
  readonly bytes: number;
  readonly blobs: Readonly<Record<Compression, Blob>>;
}

export const layerBlob = (compression: Compression, bytes: Buffer): Blob => ({
  mediaType: `${LAYER_TYPE}+${compression}`,
  digest: digestOf(bytes),
  bytes,
});

/** Archives absolute paths, with `root` as the root of the layer, and packs the archive both ways. */
export async function packLayer(
  directory: string,
  index: number,
  files: readonly string[],
  root = '/',
): Promise<PackedLayer> {
  const tar = join(directory, `${index}.tar`);
  const list = ['tar', '-c', '-C', root, '--no-recursion', '--null', '--numeric-owner', '-T', '-'];
  run(list, files.map((path) => relative(root, path)).join('\0'), tar);
  run(['gzip', '-6', '-n', '-c', tar], undefined, `${tar}.gz`);
  const blobs = {
    gzip: layerBlob('gzip', readFileSync(`${tar}.gz`)),
    zstd: layerBlob('zstd', zstdCompressSync(readFileSync(tar))),
  };
  const layer = { diffId: await sha256(tar), bytes: statSync(tar).size, blobs };
  for (const file of [tar, `${tar}.gz`]) unlinkSync(file);
  return layer;
}

const describeImage = (layers: readonly PackedLayer[], compression: Compression): BuiltImage =>
  imageOf(
    layers.map((layer) => layer.blobs[compression]),
    layers.map(({ diffId }) => diffId),
  );

export function imageOf(blobs: readonly Blob[], diffIds: readonly string[]): BuiltImage {
  const platform = { os: 'linux', architecture: process.arch === 'x64' ? 'amd64' : process.arch };
  const config = jsonBlob('application/vnd.oci.image.config.v1+json', {
    ...platform,
    config: { Cmd: ['sh'] },
    rootfs: { type: 'layers', diff_ids: diffIds },
  });
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = jsonBlob(mediaType, {
    schemaVersion: 2,
    mediaType,
    config: descriptor(config),
    layers: blobs.map(descriptor),
  });
  return { manifest, config, layers: blobs, platform };
}

/** Builds it in the directory; takes half a minute. */
export async function buildLargeImage(directory: string): Promise<LargeImage> {
  mkdirSync(directory, { recursive: true });
  const layers: PackedLayer[] = [];
  const chosen = layersOfPaths();
  for (const [index, files] of chosen.entries()) layers.push(await packLayer(directory, index, files));
  return {
    bytes: layers.reduce((sum, { bytes }) => sum + bytes, 0),
    entries: chosen.reduce((sum, files) => sum + files.length, 0),
    images: { gzip: describeImage(layers, 'gzip'), zstd: describeImage(layers, 'zstd') },
  };
}

/** The image with one more layer on top, the only one of `own`. */
export function withLayer(image: BuiltImage, own: BuiltImage): BuiltImage {
  const diffIdsOf = ({ config }: BuiltImage): string[] =>
    (JSON.parse(config.bytes.toString()) as { rootfs: { diff_ids: string[] } }).rootfs.diff_ids;
  return imageOf([...image.layers, ...own.layers], [...diffIdsOf(image), ...diffIdsOf(own)]);
}

/** Compiles a program of this folder, without libraries. Throws Internal with the compiler's output. */
export function compile(directory: string, name: 'pause' | 'feel'): Buffer {
  mkdirSync(directory, { recursive: true });
  const [source, program] = [join(import.meta.dirname, `${name}.c`), join(directory, name)];
  const { status, stderr } = spawnSync('gcc', ['-Os', '-static', '-o', program, source], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new CrispError('Internal', `gcc exited with ${status}: ${stderr}`);
  return readFileSync(program);
}
