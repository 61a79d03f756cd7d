/** Layers that are EROFS images, made by mkfs.erofs, in stores of tests. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Digest } from '#core/ids.ts';
import { decode, encode } from '#core/json-record.ts';
import type { LayerImage, LayerRecord } from '#image-service/store/layer-record.ts';

const BLOCK = 4096;

/** As `LayerImage` describes it. */
export function describeImage(path: string): LayerImage {
  const bytes = readFileSync(path);
  const hash = createHash('sha256').update(bytes.subarray(BLOCK)).update(bytes.subarray(0, BLOCK));
  return { digest: `sha256:${hash.digest('hex')}` as Digest, bytes: bytes.length };
}

/** Makes an image of a directory's files. */
export function imageOfDirectory(directory: string, path: string): LayerImage {
  execFileSync('mkfs.erofs', ['--quiet', path, directory], { stdio: ['ignore', 'ignore', 'inherit'] });
  return describeImage(path);
}

/** Makes an image of files by name. */
export function imageOfFiles(files: Readonly<Record<string, string>>, path: string): LayerImage {
  const directory = mkdtempSync(`${path}-files-`);
  try {
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), content);
    }
    return imageOfDirectory(directory, path);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

export const recordIn = (layer: string): LayerRecord =>
  decode(readFileSync(join(layer, 'record.json'), 'utf8')) as LayerRecord;

export const writeRecord = (layer: string, record: object): void =>
  writeFileSync(join(layer, 'record.json'), encode(record));

/** Turns layers of a store that no daemon uses into images; of these keys, or all. */
export function turnIntoImages(layers: string, keys: readonly string[] = readdirSync(layers)): void {
  for (const key of keys) {
    const layer = join(layers, key);
    const path = join(layer, 'layer.erofs');
    const image = imageOfDirectory(join(layer, 'fs'), path);
    rmSync(join(layer, 'fs'), { recursive: true });
    writeRecord(layer, { ...recordIn(layer), version: 2, bytes: statSync(path).size, inodes: 3, image });
  }
}
