/**
 * Visits to other namespaces by one thread. All is synchronous: whatever ran on libuv's pool would run in the host's
 * namespaces or, worse, give birth to pool threads in the pod's.
 */
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { check, namingSync } from '../libc/errno.ts';
import { mount, setns, setThreadUser, unshare } from '../libc/libc.ts';
import type { NamespaceKind } from '../ports/kernel.ts';

/** The CLONE_NEW flag of each kind. */
export const cloneFlags: Readonly<Record<NamespaceKind, number>> = {
  mnt: 0x00020000,
  cgroup: 0x02000000,
  uts: 0x04000000,
  ipc: 0x08000000,
  user: 0x10000000,
  pid: 0x20000000,
  net: 0x40000000,
};

/** The kinds that a thread can change for itself and leave again. */
const visited = ['net', 'ipc', 'uts', 'pid'] as const;
export type Visited = (typeof visited)[number];

export const isVisited = (kind: NamespaceKind): kind is Visited =>
  (visited as readonly string[]).includes(kind);

const MS_BIND = 4096;
const KEEP = -1;

/** The thread could not return: it must not be used again. */
export class NamespaceLost extends Error {}

/** The calling thread, with its way home. To be made while the thread is in the host's namespaces. */
export class NamespaceThread {
  readonly #home: ReadonlyMap<Visited, number> = new Map(
    visited.map((kind) => [kind, openSync(`/proc/thread-self/ns/${kind}`, 'r')]),
  );

  /** What it keeps open. */
  get descriptors(): number[] {
    return [...this.#home.values()];
  }

  /** Runs the act in new namespaces of these kinds; processes spawned in it stay there, a new pid namespace included. */
  inNew<T>(kinds: readonly Visited[], act: () => T): T {
    const flags = kinds.reduce((all, kind) => all | cloneFlags[kind], 0);
    return this.#away(kinds, () => check(unshare(flags), `make the namespaces ${kinds.join(' ')}`), act);
  }

  /** Runs the act in namespaces of another process. */
  inThoseOf<T>(pid: number, kinds: readonly Visited[], act: () => T): T {
    const enter = () => {
      for (const kind of kinds) {
        using file = new OpenFile(`/proc/${pid}/ns/${kind}`);
        check(setns(file.fd, cloneFlags[kind]), `enter the ${kind} namespace of process ${pid}`);
      }
    };
    return this.#away(kinds, enter, act);
  }

  /** Runs the act in the network namespace that is pinned at a path. */
  inNetwork<T>(path: string, act: () => T): T {
    const enter = () => {
      using file = new OpenFile(path);
      check(setns(file.fd, cloneFlags.net), `enter the network namespace ${path}`);
    };
    return this.#away(['net'], enter, act);
  }

  /** Runs the act with another effective user: the owner of a user namespace, whom some sysctls ask for. */
  asUser<T>(uid: number, act: () => T): T {
    check(setThreadUser(KEEP, uid, KEEP), `become user ${uid}`);
    const outcome = attempt(act);
    if (setThreadUser(KEEP, 0, KEEP) < 0) throw new NamespaceLost('the thread cannot become root again');
    return outcome();
  }

  /** Every way out leads home: also after a failure in the middle, also for kinds that were not entered yet. */
  #away<T>(kinds: readonly Visited[], enter: () => void, act: () => T): T {
    const outcome = attempt(() => {
      enter();
      return act();
    });
    for (const kind of kinds) {
      if (setns(this.#home.get(kind) ?? -1, cloneFlags[kind]) < 0) {
        throw new NamespaceLost(`the thread cannot return to the host's ${kind} namespace`);
      }
    }
    return outcome();
  }
}

/** Runs the act and keeps its outcome, value or error, for later. */
function attempt<T>(act: () => T): () => T {
  try {
    const value = act();
    return () => value;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

/** A file that is open for reading until the end of a block. */
export class OpenFile implements Disposable {
  readonly fd: number;

  constructor(path: string) {
    this.fd = namingSync(`open ${path}`, () => openSync(path, 'r'));
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/** Makes the pin of a namespace: a bind mount of `/proc/…/ns/KIND` on a file of that name in the directory. */
export function pinAt(directory: string, kind: NamespaceKind, source: string): string {
  const path = join(directory, kind);
  pinFile(path, source);
  return path;
}

/** Makes the file where it is missing and binds the namespace on it. */
export function pinFile(path: string, source: string): void {
  namingSync(`make the pin ${path}`, () => closeSync(openSync(path, 'a', 0o600)));
  check(mount(source, path, null, MS_BIND, null), `pin ${source} at ${path}`);
}
