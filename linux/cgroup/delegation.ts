/**
 * Enabling controllers for child groups in cgroup v2 (cgroup.subtree_control). A group that enables any may have no
 * processes itself, unless it is the root of the machine ("no internal processes", cgroup-v2.rst). In a container the root
 * of the cgroup namespace is a group like any other, with all of the container's processes: they are moved into a leaf.
 */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import { fromNode } from '../libc/errno.ts';
import { isMissing, readControl, writeControl } from './tree.ts';

/** The controllers that crisp enables for pods and containers. */
const wanted = new Set(['cpuset', 'cpu', 'io', 'memory', 'pids', 'hugetlb', 'rdma', 'misc']);
/** The leaf's name: what kind and Docker-in-Docker call theirs. */
const LEAF = 'init';
/** Passes over a group whose processes are moved: they fork meanwhile. */
const MAX_PASSES = 20;

export const words = (text: string | undefined): string[] =>
  (text ?? '').split(/\s+/).filter((word) => word !== '');

/** The controllers of a group that its children lack. */
export function missingBelow(directory: string): string[] {
  const enabled = new Set(words(readControl(join(directory, 'cgroup.subtree_control'))));
  return words(readControl(join(directory, 'cgroup.controllers'))).filter(
    (name) => wanted.has(name) && !enabled.has(name),
  );
}

/**
 * Enables in a group's children what the group itself has, one controller at a time: one that the kernel refuses does
 * not affect the others. Returns those that were refused, with the errno. Throws FailedPrecondition where none can be
 * enabled because processes are in the group, or where it is threaded. `leaf`: processes of the group may be moved.
 */
export async function enableForChildren(directory: string, leaf: boolean): Promise<Map<string, string>> {
  const refusals = new Map<string, string>();
  for (const name of missingBelow(directory)) {
    const errno = (await enable(directory, name)) ?? '';
    if (errno === '') continue;
    if (errno === 'ENOTSUP' || errno === 'EOPNOTSUPP') throw threaded(directory);
    if (errno !== 'EBUSY') refusals.set(name, errno);
    else if (!leaf) throw occupied(directory, name);
    else {
      await emptyInto(directory, join(directory, LEAF));
      const again = await enable(directory, name);
      if (again === 'EBUSY') throw occupied(directory, name);
      if (again !== undefined) refusals.set(name, again);
    }
  }
  return refusals;
}

/** The errno of a refusal. */
async function enable(directory: string, name: string): Promise<string | undefined> {
  try {
    await writeControl(join(directory, 'cgroup.subtree_control'), `+${name}`);
    return undefined;
  } catch (error) {
    if (isMissing(error) && readControl(join(directory, 'cgroup.subtree_control')) === undefined) throw error;
    return errnoOf(error) ?? 'EIO';
  }
}

/**
 * Whether a mount of cgroup2 shows the root of this process's cgroup namespace, and that is not the machine's own root:
 * then the group was delegated to the container in which crisp runs (cgroup_namespaces(7)). `root` is the mount's root as the
 * mount table has it.
 */
export const isDelegatedRoot = (directory: string, root: string): boolean =>
  root === '/' && readControl(join(directory, 'cgroup.type')) !== undefined;

/** Moves the processes of a group, the daemon itself among them, into a leaf below it. */
async function emptyInto(directory: string, leaf: string): Promise<void> {
  await mkdir(leaf, { mode: 0o755 }).catch((error: unknown) => {
    if (errnoOf(error) !== 'EEXIST') throw fromNode(error, `make cgroup ${leaf}`);
  });
  for (let pass = 0; pass < MAX_PASSES; pass++) {
    const pids = pidsIn(directory);
    if (pids.length === 0) return;
    for (const pid of pids) {
      // One that has exited meanwhile is skipped; one that may not be moved is named by the caller.
      await writeControl(join(leaf, 'cgroup.procs'), `${pid}`).catch(() => {});
    }
  }
}

/** 0, a process outside of this pid namespace, is left out: to write it would move the writer. */
const pidsIn = (directory: string): number[] =>
  words(readControl(join(directory, 'cgroup.procs')))
    .map(Number)
    .filter((pid) => pid > 0);

function occupied(directory: string, controller: string): CrispError {
  const names = pidsIn(directory)
    .slice(0, 10)
    .map((pid) => `${pid} ${commandOf(pid)}`);
  const who = names.length > 0 ? names.join(', ') : 'one outside of this pid namespace';
  const message = `cgroup ${directory}: ${controller} cannot be enabled for children: processes are in the group itself (${who})`;
  return new CrispError('FailedPrecondition', message, {
    errno: 'EBUSY',
    hint: 'move them into a group below it, or set cgroup.parent to a group without processes',
  });
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

/** Such a group, and all below it, takes threads but no processes that are under a limit of memory. */
export function threaded(directory: string): CrispError {
  const type = readControl(join(directory, 'cgroup.type')) ?? 'unknown';
  const message = `cgroup ${directory} is threaded (cgroup.type "${type}"): pods cannot be below it`;
  return new CrispError('FailedPrecondition', message, {
    errno: 'EOPNOTSUPP',
    hint: 'set cgroup.parent to a group whose cgroup.type is domain, or start the daemon outside of the threaded tree',
  });
}
