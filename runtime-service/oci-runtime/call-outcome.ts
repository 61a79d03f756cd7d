/** The outcome of a call of an OCI runtime: what its messages mean, and that it has ended at all. */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** The state files of crun and runc, in a container's directory below their root. */
const STATE_FILES = ['status', 'state.json'];
const KNOWN = /^(?:crun|runc)\b/;
/** How long a program that was killed at its deadline is waited for, before its effects are undone. */
const KILLED_MS = 2000;

/**
 * Whether a failure means that the runtime does not know the container. crun and runc keep a state directory
 * for each, so the message of a failing hook or program is never mistaken for that; of others the exact message counts.
 */
export function isForgotten(
  { stateRoot, program }: { stateRoot: string; program: string },
  id: string,
  text: string,
): boolean {
  const directory = join(stateRoot, id);
  if (existsSync(directory)) return !STATE_FILES.some((name) => existsSync(join(directory, name)));
  const message = new RegExp(
    `(?:^|: )(?:container (?:"?${id}"? )?|Container ID \\(${id}\\) )does not exist$`,
  );
  return KNOWN.test(basename(program)) || message.test(text);
}

/** Whether a container could not be resumed because it is not paused, or has ended. */
export const isNotPaused = (id: string, text: string): boolean =>
  new RegExp(`(?:^|: )(?:the )?container (?:.?${id}.? )?(?:is )?not (?:paused|running)$`).test(text);

/** Waits for the work given to `run` also where its deadline has passed: what was killed has ended then. */
export async function ended<T>(act: (run: (work: Promise<T>) => Promise<T>) => Promise<T>): Promise<T> {
  let running: Promise<unknown> = Promise.resolve();
  try {
    return await act((work) => {
      running = work;
      return work;
    });
  } catch (error) {
    await Promise.race([running.catch(() => {}), sleep(KILLED_MS, undefined, { ref: false })]);
    throw error;
  }
}
