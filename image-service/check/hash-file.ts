import { createHash } from 'node:crypto';
import { alignedBuffer, UncachedFile } from '#linux/fs/uncached-file.ts';
import type { Pace } from './pace.ts';

/** The unit of reading. */
const CHUNK = 1 << 20;
/** An EROFS image's first block is hashed last, as it is written last. */
const BLOCK = 4096;

export interface HashRequest {
  readonly path: string;
  /** The bytes that its record promises. */
  readonly bytes: number;
  /** `first block last`: the digest of an EROFS image (`LayerImage`). */
  readonly order: 'as it is' | 'first block last';
}

/** What a file is; `replaced`: another one has its path by now, so this says nothing of it. */
export type HashedFile =
  | { readonly kind: 'hashed'; readonly digest: string; readonly isReplaced: boolean }
  | { readonly kind: 'other size'; readonly bytes: number; readonly isReplaced: boolean }
  | { readonly kind: 'no file' };

/** Reads a file in chunks, at a pace, past the page cache. Throws Node's errors, and the pace's where it is cancelled. */
export function hashFile({ path, bytes, order }: HashRequest, pace: Pace): HashedFile {
  using file = new UncachedFile(path);
  const { size } = file.stat;
  if (!file.stat.isFile()) return { kind: 'no file' };
  if (size !== bytes) return { kind: 'other size', bytes: size, isReplaced: file.isReplaced() };
  const hash = createHash('sha256');
  const memory = alignedBuffer(CHUNK);
  const start = order === 'first block last' ? BLOCK : 0;
  let position = start;
  while (position < size) {
    const count = file.read(memory, position);
    if (count === 0) return { kind: 'other size', bytes: position, isReplaced: file.isReplaced() };
    hash.update(memory.subarray(0, count));
    position += count;
    pace.read(count);
  }
  if (start > 0) hash.update(memory.subarray(0, file.read(memory.subarray(0, BLOCK), 0)));
  return { kind: 'hashed', digest: `sha256:${hash.digest('hex')}`, isReplaced: file.isReplaced() };
}
