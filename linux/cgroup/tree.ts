/** What both versions of cgroups have in common: a tree of directories with control files. */
import { readdirSync, readFileSync } from 'node:fs';
import { rmdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, errnoOf } from '#core/errors.ts';
import { fromNode, refused } from '../libc/errno.ts';
import { kill as sendSignal } from '../libc/libc.ts';

/** Refuses what is not a plain absolute path below the root: a group's name comes from a client. */
export function safeGroup(path: string): string {
  const parts = path.split('/').slice(1);
  const plain = parts.every(
    (part) => part !== '' && part !== '.' && part !== '..' && Buffer.byteLength(part) <= 255,
  );
  if (!path.startsWith('/') || parts.length === 0 || !plain || /[\0\n]/.test(path)) {
    throw new CrispError('InvalidArgument', `cgroup path ${JSON.stringify(path)} is not absolute and plain`, {
      hint: 'give a path such as /kubepods/pod-1, without . or .. and without doubled or final slashes',
    });
  }
  return path;
}

/** A control file's name that cannot lead out of its directory. */
export function safeFile(file: string): string {
  if (/^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$/.test(file)) return file;
  throw new CrispError('InvalidArgument', `${JSON.stringify(file)} is not the name of a control file`);
}

/** The group is gone: it was removed, or is being removed. */
export const isMissing = (error: unknown): boolean =>
  ['ENOENT', 'ENODEV', 'ENOTDIR'].includes(errnoOf(error) ?? '');

/** Trimmed content; undefined where the file or the group is missing. */
export function readControl(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw fromNode(error, `read ${path}`);
  }
}

/** Writes a value in one write(2), which the kernel takes or refuses as a whole. Runs on the pool: a move may wait. */
export async function writeControl(path: string, value: string): Promise<void> {
  try {
    await writeFile(path, value, { flag: 'r+' });
  } catch (error) {
    throw fromNode(error, `write ${JSON.stringify(value)} to ${path}`);
  }
}

/** The directory and all below it, parents first. A missing one: none. */
export function groupsBelow(directory: string): string[] {
  const all = [directory];
  for (let at = 0; at < all.length; at++) {
    const group = all[at] ?? '';
    try {
      for (const entry of readdirSync(group, { withFileTypes: true })) {
        if (entry.isDirectory()) all.push(join(group, entry.name));
      }
    } catch (error) {
      if (!isMissing(error)) throw fromNode(error, `read cgroup ${group}`);
      if (at === 0) return [];
    }
  }
  return all;
}

/** The groups of this name below a hierarchy's root, as paths below it. */
export const groupsNamed = (root: string, name: string): string[] =>
  groupsBelow(root)
    .filter((group) => basename(group) === name)
    .map((group) => group.slice(root.length));

/** The pids in the directory's group and below it. */
export function pidsBelow(directory: string): number[] {
  const pids = new Set<number>();
  for (const group of groupsBelow(directory)) {
    for (const line of (readControl(join(group, 'cgroup.procs')) ?? '').split('\n')) {
      // 0 is a process outside of this pid namespace: kill(0) would be our own group.
      if (Number(line) > 0) pids.add(Number(line));
    }
  }
  return [...pids];
}

/** Sends the signal to each pid; those that are gone are passed over. */
export function signalPids(pids: readonly number[], signal: number): void {
  for (const pid of pids) sendSignal(pid, signal);
}

/** A wrong path must not make the daemon kill itself. */
export function refuseOwnCgroup(path: string, pids: readonly number[]): void {
  if (!pids.includes(process.pid)) return;
  throw new CrispError(
    'FailedPrecondition',
    `cgroup ${path} contains the daemon itself (pid ${process.pid})`,
    {
      hint: 'start the daemon outside of the cgroups that it manages',
    },
  );
}

/** A pause between tries that grows from 1 to 50 ms. Throws the deadline's error, naming what remains. */
export async function pauseBeforeRetry(
  attempt: number,
  signal: AbortSignal,
  what: () => string,
): Promise<void> {
  if (!signal.aborted) await sleep(Math.min(50, 2 ** attempt), undefined, { signal }).catch(() => {});
  if (!signal.aborted) return;
  const code = signal.reason instanceof CrispError ? signal.reason.code : 'Aborted';
  throw new CrispError(code, what(), {
    cause: signal.reason,
    hint: 'see which processes are in the group: one in state D waits for a disk or a network file system',
  });
}

/** Removes a directory's group and those below it, the lowest first; waits while processes are still exiting. */
export async function removeGroup(directory: string, signal: AbortSignal): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const busy = await tryRemove(directory);
    if (busy === undefined) return;
    await pauseBeforeRetry(
      attempt,
      signal,
      () => `remove cgroup ${busy}: busy, processes ${pidsBelow(busy).join(' ')}`,
    );
  }
}

/** The first group that is busy, or undefined where all are gone. */
async function tryRemove(directory: string): Promise<string | undefined> {
  for (const group of groupsBelow(directory).reverse()) {
    try {
      await rmdir(group);
    } catch (error) {
      const errno = errnoOf(error) ?? '';
      if (errno === 'EBUSY' || errno === 'ENOTEMPTY') return group;
      if (!isMissing(error)) throw refused(`remove cgroup ${group}`, errno);
    }
  }
  return undefined;
}
