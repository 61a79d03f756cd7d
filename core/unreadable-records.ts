import { randomBytes } from 'node:crypto';
import { lstat, readdir, truncate } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from './errors.ts';
import type { RecordFiles } from './record-files.ts';

/** So many of the newest are kept. */
const MAX_KEPT = 20;
/** Bytes of each that are kept. */
const SIZE = 1 << 20;

/**
 * Moves an unreadable record to `directory` for inspection by an operator; returns its path, which ends with `name`, or
 * undefined where there is nothing. The oldest are removed.
 */
export async function keepUnreadable(
  files: Pick<RecordFiles, 'makeDirectory' | 'rename' | 'removeTree'>,
  path: string,
  directory: string,
  name: string,
): Promise<string | undefined> {
  await files.makeDirectory(directory, 0o700);
  // Two of one millisecond have names of their own: a directory renamed to the name of a file is refused with ENOTDIR.
  const kept = join(directory, `${Date.now()}-${randomBytes(4).toString('hex')}-${name.slice(-200)}`);
  try {
    await files.rename(path, kept);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    // A file is in the place of a directory: that is what cannot be read.
    if (errnoOf(error) === 'ENOTDIR') return keepUnreadable(files, dirname(path), directory, name);
    throw error;
  }
  const stats = await lstat(kept);
  if (stats.isFile() && stats.size > SIZE) await truncate(kept, SIZE);
  const oldest = (await readdir(directory)).sort(byTime).slice(0, -MAX_KEPT);
  for (const old of oldest) await files.removeTree(join(directory, old));
  return kept;
}

const byTime = (a: string, b: string): number => Number.parseInt(a, 10) - Number.parseInt(b, 10);
