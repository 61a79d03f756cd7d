/**
 * setns(2) and unshare(2) by one thread. All is synchronous: what ran on libuv's pool would run in the host's namespaces
 * or, worse, start pool threads in the pod's.
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

/** The kinds that a thread can switch for itself and switch back. */
const reversibleKinds = ['net', 'ipc', 'uts', 'pid'] as const;
export type ReversibleKind = (typeof reversibleKinds)[number];

export const isReversible = (kind: NamespaceKind): kind is ReversibleKind =>
  (reversibleKinds as readonly string[]).includes(kind);

const MS_BIND = 4096;
const KEEP = -1;

/** The thread cannot return to the host's namespaces: it must not be used again. */
export class NamespaceLost extends Error {}

/** The calling thread, with descriptors of the host's namespaces. To be made while the thread is in these. */
export class NamespaceThread {
  readonly #hostNamespaces: ReadonlyMap<ReversibleKind, number> = new Map(
    reversibleKinds.map((kind) => [kind, openSync(`/proc/thread-self/ns/${kind}`, 'r')]),
  );

  /** The descriptors that it keeps open. */
  get descriptors(): number[] {
    return [...this.#hostNamespaces.values()];
  }

  /** Runs the act in new namespaces of these kinds; processes spawned in it stay there, a new pid namespace included. */
  inNewNamespaces<T>(kinds: readonly ReversibleKind[], act: () => T): T {
    const flags = kinds.reduce((all, kind) => all | cloneFlags[kind], 0);
    return this.#enterAndReturn(
      kinds,
      () => check(unshare(flags), `make the namespaces ${kinds.join(' ')}`),
      act,
    );
  }

  /** Runs the act in namespaces of another process. */
  inNamespacesOf<T>(pid: number, kinds: readonly ReversibleKind[], act: () => T): T {
    const enter = () => {
      for (const kind of kinds) {
        using file = new OpenFile(`/proc/${pid}/ns/${kind}`);
        check(setns(file.fd, cloneFlags[kind]), `enter the ${kind} namespace of process ${pid}`);
      }
    };
    return this.#enterAndReturn(kinds, enter, act);
  }

  /** Runs the act in the network namespace that is pinned at a path. */
  inNetwork<T>(path: string, act: () => T): T {
    const enter = () => {
      using file = new OpenFile(path);
      check(setns(file.fd, cloneFlags.net), `enter the network namespace ${path}`);
    };
    return this.#enterAndReturn(['net'], enter, act);
  }

  /** Runs the act with another effective user: the owner of a user namespace, whom some sysctls require. */
  asUser<T>(uid: number, act: () => T): T {
    check(setThreadUser(KEEP, uid, KEEP), `become user ${uid}`);
    const result = attempt(act);
    if (setThreadUser(KEEP, 0, KEEP) < 0) throw new NamespaceLost('the thread cannot become root again');
    return result();
  }

  /** Returns to the host's namespaces in every case: also after a partial failure, also for kinds not entered yet. */
  #enterAndReturn<T>(kinds: readonly ReversibleKind[], enter: () => void, act: () => T): T {
    const result = attempt(() => {
      enter();
      return act();
    });
    for (const kind of kinds) {
      if (setns(this.#hostNamespaces.get(kind) ?? -1, cloneFlags[kind]) < 0) {
        throw new NamespaceLost(`the thread cannot return to the host's ${kind} namespace`);
      }
    }
    return result();
  }
}

/** Runs the act and keeps its result, value or error, for later. */
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
