import { closeSync, constants, copyFileSync, ftruncateSync, openSync, type Stats, writeSync } from 'node:fs';
import { flags, must, readFully, seekFile } from '#linux/fs/at-syscalls.ts';

const CHUNK = 1 << 20;
const ENXIO = -6;

/** Copies the bytes of a file to one that does not exist yet. Holes stay holes: a file of 1 TiB may have a few blocks. */
export function copyContent(from: Buffer, to: Buffer, { size, blocks }: Stats): void {
  if (blocks * 512 >= size) copyFileSync(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  else copyData(from, to, size);
}

function copyData(from: Buffer, to: Buffer, size: number): void {
  const source = openSync(from, 'r');
  try {
    const target = openSync(to, 'wx', 0o600);
    try {
      for (let at = 0; at < size; ) {
        const data = seekFile(source, at, flags.SEEK_DATA);
        if (data === ENXIO) break; // a hole to the end
        const end = must(seekFile(source, must(data, 'find data'), flags.SEEK_HOLE), 'find a hole');
        copyRange(source, target, data, end);
        at = end;
      }
      ftruncateSync(target, size);
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
}

function copyRange(source: number, target: number, from: number, end: number): void {
  const buffer = Buffer.allocUnsafe(Math.min(CHUNK, end - from));
  for (let at = from; at < end; ) {
    const read = readFully(source, buffer.subarray(0, Math.min(buffer.length, end - at)), at);
    if (read === 0) return;
    for (let done = 0; done < read; ) done += writeSync(target, buffer, done, read - done, at + done);
    at += read;
  }
}
