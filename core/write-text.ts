import { writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { CrispError, codeOf, errnoOf, hintOf } from './errors.ts';

/** Node's errors of a write have no path: a file system that is full would have no name. */
function unwritable(path: string, cause: unknown): CrispError {
  const errno = errnoOf(cause);
  return new CrispError(codeOf(cause), `${path} cannot be written`, {
    cause,
    hint: hintOf(cause),
    ...(errno === undefined ? {} : { errno }),
  });
}

/** Writes a file that no record depends on. Throws an error that names it (`ResourceExhausted` where it does not fit). */
export async function writeText(path: string, text: string, mode: number): Promise<void> {
  try {
    await writeFile(path, text, { mode });
  } catch (error) {
    throw unwritable(path, error);
  }
}

/** The same on a tmpfs, which does not block, for a file that does not exist yet. */
export function writeNewSync(path: string, content: string | Uint8Array, mode: number): void {
  try {
    writeFileSync(path, content, { mode, flag: 'wx' });
  } catch (error) {
    throw unwritable(path, error);
  }
}
