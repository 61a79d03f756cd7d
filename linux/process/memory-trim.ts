/** Returns memory that is not needed any more to the kernel. */
import { readFile } from 'node:fs/promises';
import { naming } from '../libc/errno.ts';
import { asynchronous, madvise, mallocTrim } from '../libc/libc.ts';

const MADV_DONTNEED = 4;

interface Mapping {
  readonly start: bigint;
  readonly length: bigint;
}

/**
 * Returns what the C library keeps of freed memory, and drops the pages of Node's program, most of which only its start
 * has needed: those that are used come back from the page cache, sixteen at a time. Nothing of it blocks the
 * caller's thread for more than a few microseconds.
 */
export async function releaseMemory(): Promise<void> {
  await asynchronous(mallocTrim, 0);
  const maps = await naming('read /proc/self/smaps', () => readFile('/proc/self/smaps', 'latin1'));
  for (const { start, length } of unwritten(maps, process.execPath))
    await asynchronous(madvise, start, length, MADV_DONTNEED);
}

/**
 * The mappings of a program that are not writable and were not written: their contents are in the file. The table of
 * relocations, which the loader writes before it removes the write permission, is not among them.
 */
export function unwritten(smaps: string, program: string): Mapping[] {
  const found: Mapping[] = [];
  let at: Mapping | undefined;
  for (const line of smaps.split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+\s*(.*)$/.exec(line);
    if (head) {
      const [, from = '', to = '', rights = '', path = ''] = head;
      const start = BigInt(`0x${from}`);
      const isCandidate = path === program && /^r-[-x]p$/.test(rights);
      at = isCandidate ? { start, length: BigInt(`0x${to}`) - start } : undefined;
    } else if (at && /^Anonymous:\s+0 kB$/.test(line)) found.push(at);
  }
  return found;
}
