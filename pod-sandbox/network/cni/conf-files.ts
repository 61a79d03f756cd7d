/**
 * The files of the directory of CNI configurations, in the order that counts: by name, `.conflist`, `.conf` and `.json`
 * alike, as other runtimes do. What is not a regular file (a dangling link, a directory, a FIFO) is skipped and reported;
 * no open blocks.
 */
import { constants } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';

const ENDINGS = ['.conflist', '.conf', '.json'];
/** Bytes, far above any real configuration. */
const MAX_SIZE = 1024 * 1024;

export interface ConfFile {
  readonly path: string;
  /** Changes with the file: name, inode, size and times. */
  readonly stamp: string;
  readonly size: bigint;
}

export interface ConfFiles {
  readonly files: readonly ConfFile[];
  /** The files that were skipped, with the reason. */
  readonly skipped: readonly string[];
}

/** By name, no more than `max` regular files; 0: all. Throws where the directory cannot be read. */
export async function listConfFiles(directory: string, max: number): Promise<ConfFiles> {
  const names = (await readdir(directory)).filter((name) => ENDINGS.some((end) => name.endsWith(end)));
  const files: ConfFile[] = [];
  const skipped: string[] = [];
  for (const name of names.sort(byBytes)) {
    const path = join(directory, name);
    const found = await statConfFile(path, name);
    if (typeof found === 'string') skipped.push(`${name}: ${found}`);
    else files.push(found);
    if (files.length === max) break;
  }
  return { files, skipped };
}

/** Throws NetworkFailed for what is larger than any configuration. */
export async function readConfFile({ path, size }: ConfFile): Promise<string> {
  if (size > MAX_SIZE) throw new CrispError('NetworkFailed', `CNI configuration ${path} has ${size} bytes`);
  return readRegular(path);
}

/** A FIFO that has replaced the file does not block the open. Throws NetworkFailed for what is not a regular file. */
export async function readRegular(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) throw new CrispError('NetworkFailed', `${path} is not a regular file`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

async function statConfFile(path: string, name: string): Promise<ConfFile | string> {
  try {
    const found = await stat(path, { bigint: true });
    if (found.isDirectory()) return 'a directory';
    if (found.isFIFO()) return 'a FIFO';
    if (!found.isFile()) return 'not a regular file';
    const { ino, size, mtimeNs, ctimeNs } = found;
    return { path, size, stamp: [name, ino, size, mtimeNs, ctimeNs].join(' ') };
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT') return 'a link that leads nowhere';
    if (errno === 'ELOOP' || errno === 'ENOTDIR') return `a link that cannot be followed (${errno})`;
    throw error;
  }
}

/** As Go sorts, and `LC_ALL=C ls`. */
const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
