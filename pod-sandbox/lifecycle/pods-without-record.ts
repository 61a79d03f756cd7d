/**
 * Pods that exist and are not listed: their record cannot be read at the moment, or a newer crisp has written it. They run on, and
 * their attachments are in no list that could be given to a plugin.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '#core/errors.ts';
import { isFullId, type SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';

/** Milliseconds: a pod that is being made has its directory a moment before its record is listed. */
const AGAIN_MS = 1_000;

/** Ids that have a directory, and neither a record nor a leak that is loaded. Throws where the directories cannot be read. */
export async function podsWithoutRecord(context: Context, op: Operation): Promise<readonly string[]> {
  const first = await unlisted(context);
  if (first.length === 0) return first;
  await op.stage('records of new pods', () => sleep(AGAIN_MS, undefined, { signal: op.signal, ref: false }));
  const second = new Set(await unlisted(context));
  return first.filter((id) => second.has(id)).sort();
}

async function unlisted({ sandboxes, leaks, root, state }: Context): Promise<string[]> {
  const names = await Promise.all([root, state].map((path) => namesIn(join(path, 'sandboxes'))));
  return [...new Set(names.flat())].filter(
    (name) => isFullId(name) && !sandboxes.get(name as SandboxId) && !leaks.get(name),
  );
}

const namesIn = (directory: string): Promise<string[]> =>
  readdir(directory).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  });
