/**
 * Mounts damaged copies of an image, one after the other, and reads all that the kernel shows of each: `damaged-images.ts IMAGE
 * DIRECTORY SEED COUNT`, in a mount namespace of its own. Prints what became of them; errors of the kernel are expected.
 */
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import { kernel } from '../service.ts';
import { seeTree } from './tree-view.ts';

const [, , image = '', directory = '', seed = '0', count = '0'] = process.argv;
const BLOCK = 4096;
const whole = readFileSync(image);
let state = Number(seed) >>> 0;
function below(limit: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
}

/** Bytes of the image but its file data would be rare among all of them: metadata is in few places, so all are hit in turn. */
function damage(n: number): Buffer {
  const bytes = Buffer.from(whole);
  const kind = n % 4;
  if (kind === 0) return bytes.subarray(0, BLOCK * below(bytes.length / BLOCK) + below(2) * 100);
  const at = below(bytes.length);
  if (kind === 1) bytes.fill(0, at, Math.min(bytes.length, at + 512));
  if (kind === 2) bytes.fill(0xff, at, Math.min(bytes.length, at + 64));
  // Of what is not zero, so that it means something.
  if (kind === 3)
    for (let flips = 0; flips < 8; flips++) {
      const place = bytes.findIndex((byte, index) => index >= below(bytes.length) && byte !== 0);
      if (place >= 0) bytes[place] = below(256);
    }
  return bytes;
}

const counts = { refused: 0, whole: 0, contradicts: 0, fails: 0 };
const target = join(directory, 'target');
const copy = join(directory, 'copy');
mkdirSync(target);

/** Reads all; what is damaged shows itself by an error, by other content, or not at all. */
function look(): void {
  try {
    seeTree(target);
    counts.whole++;
  } catch (error) {
    if (errnoOf(error) === undefined) counts.contradicts++;
    else counts.fails++;
  }
}

for (let n = 0; n < Number(count); n++) {
  writeFileSync(copy, damage(n));
  try {
    await kernel.mounts.erofs({ image: copy, target, by: 'file' });
  } catch (error) {
    if (!(error instanceof CrispError) || error.hint === '') throw error;
    counts.refused++;
    continue;
  }
  look();
  await kernel.mounts.unmount(target);
}

// The file changes below a mount.
for (const change of ['cut', 'overwrite', 'unlink'] as const) {
  rmSync(copy);
  copyFileSync(image, copy);
  await kernel.mounts.erofs({ image: copy, target, by: 'file' });
  if (change === 'cut') truncateSync(copy, 2 * BLOCK);
  if (change === 'overwrite') {
    const fd = openSync(copy, 'r+');
    const { size } = statSync(copy);
    for (let at = BLOCK; at < size; at += BLOCK) writeSync(fd, Buffer.alloc(BLOCK, 0xa5), 0, BLOCK, at);
    ftruncateSync(fd, size);
    closeSync(fd);
  }
  if (change === 'unlink') rmSync(copy);
  look();
  await kernel.mounts.unmount(target);
  if (change === 'unlink') writeFileSync(copy, '');
}
rmSync(copy);
console.log(JSON.stringify(counts));
