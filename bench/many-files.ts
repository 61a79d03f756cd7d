/** The image of many small files, as gzip and as zstd: real trees of this machine and generated sources, in one layer. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { BuiltImage } from '../test/harness/images.ts';
import { imageOf, layerBlob, packLayer, walk } from './large-image.ts';
import type { Compression } from './pulls.ts';

/** Kept between runs: packing takes minutes. A new number where the recipe changes. */
const CACHE = '/var/tmp/crisp-bench-many-files-2';
/** In this order, until there is enough of both. */
const TREES = [resolve(import.meta.dirname, '../node_modules'), '/usr/share', '/usr/include', '/usr/lib'];
const BYTES = 640 << 20;
const FILES = 36_000;
/** Once there are enough files no more such, and once there are enough bytes only such. */
const SMALL = 16 << 10;
const SOURCES = 6_000;
/** Larger ones would be most of the bytes and few of the files. */
const LARGEST_FILE = 8 << 20;

export interface ManyFilesImage {
  /** Of the archive, uncompressed. */
  readonly bytes: number;
  readonly entries: number;
  readonly images: Readonly<Record<Compression, BuiltImage>>;
}

interface Description {
  readonly diffId: string;
  readonly bytes: number;
  readonly entries: number;
}

/** The first directories of its paths. */
export const manyFilesRoots: readonly string[] = [
  ...new Set([CACHE, ...TREES].map((tree) => `/${tree.split('/')[1]}`)),
];

/** Always the same numbers: the constants of a linear congruential generator with 2^32 states. */
export function* numbers(): Generator<number> {
  for (let state = 1; ; ) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state;
  }
}

/** Writes sources of 0.2 to 12 KiB, in directories of thirty. */
function writeSources(directory: string): void {
  const source = numbers();
  const next = (): number => source.next().value as number;
  for (let file = 0; file < SOURCES; file++) {
    const parent = join(directory, `package-${Math.floor(file / 300)}`, `part-${Math.floor(file / 30) % 10}`);
    if (file % 30 === 0) mkdirSync(parent, { recursive: true });
    const lines = Array.from(
      { length: 3 + ((next() >>> 16) % 180) },
      (_, line) => `export const value${line}_${next()} = (input) => input * ${next()} + ${line};`,
    );
    writeFileSync(join(parent, `source-${file}.js`), `${lines.join('\n')}\n`);
  }
}

/** Throws ResourceExhausted where the machine has too few files. */
function chosenPaths(sources: string): string[] {
  const paths: string[] = [];
  let bytes = 0;
  let files = 0;
  for (const tree of [sources, ...TREES]) {
    for (const { path, bytes: size, isFile } of existsSync(tree) ? walk(tree) : []) {
      const isSmall = size <= SMALL;
      if (size > LARGEST_FILE || (isFile && (isSmall ? files >= FILES : bytes >= BYTES))) continue;
      paths.push(path);
      bytes += size;
      files += isFile ? 1 : 0;
      if (bytes >= BYTES && files >= FILES) return paths;
    }
  }
  throw new CrispError(
    'ResourceExhausted',
    `${TREES.join(', ')} have ${files} files of ${FILES}, and ${bytes >> 20} MiB of ${BYTES >> 20}`,
    { hint: 'run the bench on a machine with more software installed' },
  );
}

/** Below a temporary name until all of it is there. */
async function fillCache(): Promise<void> {
  const unfinished = `${CACHE}.${process.pid}`;
  const sources = join(unfinished, 'sources');
  mkdirSync(sources, { recursive: true });
  try {
    writeSources(sources);
    const paths = chosenPaths(sources);
    const layer = await packLayer(unfinished, 0, paths);
    for (const compression of ['gzip', 'zstd'] as const)
      writeFileSync(join(unfinished, compression), layer.blobs[compression].bytes);
    const description: Description = { diffId: layer.diffId, bytes: layer.bytes, entries: paths.length };
    writeFileSync(join(unfinished, 'layer.json'), JSON.stringify(description));
    rmSync(sources, { recursive: true });
    rmSync(CACHE, { recursive: true, force: true });
    renameSync(unfinished, CACHE);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

/** Builds it where no earlier run has done so: some minutes. */
export async function manyFilesImage(): Promise<ManyFilesImage> {
  if (!existsSync(join(CACHE, 'layer.json'))) await fillCache();
  const { diffId, bytes, entries } = JSON.parse(
    readFileSync(join(CACHE, 'layer.json'), 'utf8'),
  ) as Description;
  const image = (compression: Compression): BuiltImage =>
    imageOf([layerBlob(compression, readFileSync(join(CACHE, compression)))], [diffId]);
  return { bytes, entries, images: { gzip: image('gzip'), zstd: image('zstd') } };
}
