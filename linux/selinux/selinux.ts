/** The real SELinux. */
import { lstat, opendir } from 'node:fs/promises';
import { throwIfAborted } from '../libc/abort.ts';
import { bind } from '../libc/c-library.ts';
import { checkOutcome, errnoName, naming } from '../libc/errno.ts';
import { asynchronous } from '../libc/libc.ts';
import {
  isWhole,
  type RelabelOutcome,
  type RelabelProgress,
  type RelabelTree,
  type Selinux,
  type SelinuxStatus,
} from '../ports/selinux.ts';
import { canonicalContext, containerContexts, selinuxStatus } from './status.ts';
import { RelabelThreads } from './threads.ts';

const lgetxattr = bind<(path: string, name: string, value: Uint8Array, size: number) => number>(
  'long lgetxattr(const char *path, const char *name, uint8_t *value, size_t size)',
);
const lsetxattr = bind<
  (path: string, name: string, value: Uint8Array, size: number, setFlags: number) => number
>('int lsetxattr(const char *path, const char *name, const uint8_t *value, size_t size, int flags)');

const ATTRIBUTE = 'security.selinux';
const LABEL_LIMIT = 4096;
const WITHOUT_LABELS = ['ENOTSUP', 'EOPNOTSUPP', 'ENODATA'];

export class RealSelinux implements Selinux, AsyncDisposable {
  readonly #threads = new RelabelThreads();
  readonly containerContexts = containerContexts;

  /** Threads within a walk; one that a file system holds does not let the process end. */
  get busy(): number {
    return this.#threads.busy;
  }

  status(): SelinuxStatus | undefined {
    return selinuxStatus();
  }

  canonical(context: string): string {
    return canonicalContext(context);
  }

  async labelOf(path: string): Promise<string | undefined> {
    const value = Buffer.alloc(LABEL_LIMIT);
    const outcome = await asynchronous(lgetxattr, path, ATTRIBUTE, value, value.length);
    if (outcome.result < 0 && WITHOUT_LABELS.includes(errnoName(outcome.errno))) return undefined;
    const length = checkOutcome(outcome, `read the label of ${path}`);
    return value.toString('latin1', 0, length).replace(/\0$/, '');
  }

  async setLabel(path: string, label: string): Promise<boolean> {
    // As libselinux writes it.
    const value = Buffer.from(`${label}\0`, 'latin1');
    const outcome = await asynchronous(lsetxattr, path, ATTRIBUTE, value, value.length, 0);
    if (outcome.result < 0 && WITHOUT_LABELS.includes(errnoName(outcome.errno))) return false;
    checkOutcome(outcome, `set the label of ${path} to ${label}`);
    return true;
  }

  /** A volume without files needs no thread, so it does not wait for one. */
  async relabel(
    tree: RelabelTree,
    signal: AbortSignal,
    onProgress?: (progress: RelabelProgress) => void,
  ): Promise<RelabelOutcome> {
    const { path, label } = tree;
    throwIfAborted(signal, `relabel ${path}`);
    const found = await this.labelOf(path);
    if (isWhole(found, tree)) return { kind: 'labelled before' };
    if (await naming(`read ${path}`, () => hasEntries(path)))
      return await this.#threads.run(tree, signal, onProgress);
    if (!(await this.setLabel(path, label))) return { kind: 'unsupported' };
    return { kind: 'labelled', entries: 1, changed: found === label ? 0 : 1 };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#threads[Symbol.asyncDispose]();
  }
}

/** False for all but a directory. */
async function hasEntries(path: string): Promise<boolean> {
  if (!(await lstat(path)).isDirectory()) return false;
  await using directory = await opendir(path);
  return (await directory.read()) !== null;
}
