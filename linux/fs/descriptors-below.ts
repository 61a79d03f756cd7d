/** Descriptors that a thread has left: of what it opened by itself Node knows nothing when it ends the thread. */
import { closeSync, readdirSync, readlinkSync, realpathSync } from 'node:fs';

const OPEN = '/proc/self/fd';
/** How many numbers are tried where no descriptor is free to list them with. */
const TRIED = 4096;

/**
 * Closes all descriptors of this process at or below the directory, which no living thread works in. Throws nothing:
 * what cannot be found out stays open.
 */
export function closeDescriptorsBelow(directory: string): void {
  const path = quietly(() => realpathSync(directory));
  if (path === undefined) return;
  const names = quietly(() => readdirSync(OPEN)) ?? Array.from({ length: TRIED }, (_, fd) => `${fd}`);
  for (const name of names) {
    const target = quietly(() => readlinkSync(`${OPEN}/${name}`));
    if (target === path || target?.startsWith(`${path}/`)) quietly(() => closeSync(Number(name)));
  }
}

function quietly<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}
