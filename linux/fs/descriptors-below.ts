/** Descriptors that a terminated thread has left open: Node does not close what the thread opened by itself. */
import { closeSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';

const OPEN = '/proc/self/fd';
/** How many numbers are tried where no descriptor is free to list them with. */
const MAX_TRIED = 4096;

/**
 * Closes all descriptors of this process at or below the directory, which no running thread uses. Throws nothing:
 * what cannot be determined stays open.
 */
export function closeDescriptorsBelow(directory: string): void {
  const path = tryOrUndefined(() => realpathSync(directory));
  if (path === undefined) return;
  const names =
    tryOrUndefined(() => readdirSync(OPEN)) ?? Array.from({ length: MAX_TRIED }, (_, fd) => `${fd}`);
  for (const name of names) {
    const target = tryOrUndefined(() => readlinkSync(`${OPEN}/${name}`));
    if (target === path || target?.startsWith(`${path}/`)) tryOrUndefined(() => closeSync(Number(name)));
  }
}

function tryOrUndefined<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}
