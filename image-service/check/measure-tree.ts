import { type BigIntStats, lstatSync, opendirSync } from 'node:fs';
import type { Pace } from './pace.ts';

const BLOCK = 4096n;
/** What the reading of a directory entry and its attributes counts as, for the pace. */
const ENTRY_BYTES = 512;
const SLASH = Buffer.from('/');

/** What there is in the tree of a layer that is a directory. */
export interface MeasuredTree {
  readonly inodes: number;
  /** Of directories and regular files in whole blocks; undefined where a file has holes: then it cannot be compared. */
  readonly bytes: number | undefined;
}

/** Walks a tree, following no link. Names are bytes. Throws Node's errors, and the pace's where it is cancelled. */
export function measureTree(path: string, pace: Pace): MeasuredTree {
  const linked = new Set<bigint>();
  let inodes = 0;
  let bytes = 0n;
  let hasHoles = false;
  const count = (stat: BigIntStats): void => {
    pace.read(ENTRY_BYTES);
    if (stat.nlink > 1n && !stat.isDirectory()) {
      if (linked.has(stat.ino)) return;
      linked.add(stat.ino);
    }
    inodes++;
    if (stat.isDirectory()) bytes += BLOCK;
    if (!stat.isFile()) return;
    bytes += ((stat.size + BLOCK - 1n) / BLOCK) * BLOCK;
    if (stat.blocks * 512n < stat.size) hasHoles = true;
  };
  const directories = [Buffer.from(path)];
  count(lstatSync(path, { bigint: true }));
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    using entries = opendirSync(directory, { encoding: 'buffer' as BufferEncoding });
    for (let entry = entries.readSync(); entry !== null; entry = entries.readSync()) {
      const child = Buffer.concat([directory, SLASH, entry.name as unknown as Buffer]);
      const stat = lstatSync(child, { bigint: true });
      count(stat);
      if (stat.isDirectory()) directories.push(child);
    }
  }
  return { inodes, bytes: hasHoles ? undefined : Number(bytes) };
}
