/** The real SELinux. */
import { opendir, stat } from 'node:fs/promises';
import { throwIfAborted } from '../libc/abort.ts';
import { type Bound, bind } from '../libc/c-library.ts';
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
import type { Trouble } from '../ports/troubles.ts';
import { withRoot } from './root.ts';
import { canonicalContext, containerContexts, selinuxStatus } from './status.ts';
import { RelabelThreads } from './threads.ts';

type GetCall = (path: string, name: string, value: Uint8Array, size: number) => number;
const lgetxattr = bind<GetCall>(
  'long lgetxattr(const char *path, const char *name, uint8_t *value, size_t size)',
);
/** These follow links, of which /proc/self/fd has one for each descriptor. */
const getxattr = bind<GetCall>(
  'long getxattr(const char *path, const char *name, uint8_t *value, size_t size)',
);
type SetCall = (path: string, name: string, value: Uint8Array, size: number, setFlags: number) => number;
const lsetxattr = bind<SetCall>(
  'int lsetxattr(const char *path, const char *name, const uint8_t *value, size_t size, int flags)',
);
const setxattr = bind<SetCall>(
  'int setxattr(const char *path, const char *name, const uint8_t *value, size_t size, int flags)',
);

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

  get trouble(): Trouble | undefined {
    return this.#threads.trouble;
  }

  status(): SelinuxStatus | undefined {
    return selinuxStatus();
  }

  canonical(context: string): string {
    return canonicalContext(context);
  }

  labelOf(path: string): Promise<string | undefined> {
    return readLabel(lgetxattr, path, path);
  }

  setLabel(path: string, label: string): Promise<boolean> {
    return writeLabel(lsetxattr, path, label, path);
  }

  /** A volume without files needs no thread, so it does not wait for one. */
  async relabel(
    tree: RelabelTree,
    signal: AbortSignal,
    onProgress?: (progress: RelabelProgress) => void,
  ): Promise<RelabelOutcome> {
    const { path, label } = tree;
    throwIfAborted(signal, `relabel ${path}`);
    const done = await withRoot(tree, async (fd, id): Promise<RelabelOutcome | { id: string }> => {
      const root = `/proc/self/fd/${fd}`;
      const found = await readLabel(getxattr, root, path);
      if (isWhole(found, tree)) return { kind: 'labelled before' };
      if (await naming(`read ${path}`, () => hasEntries(root))) return { id };
      if (!(await writeLabel(setxattr, root, label, path))) return { kind: 'unsupported' };
      return { kind: 'labelled', entries: 1, changed: found === label ? 0 : 1 };
    });
    return 'id' in done ? await this.#threads.run({ ...tree, ...done }, signal, onProgress) : done;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#threads[Symbol.asyncDispose]();
  }
}

async function readLabel(get: Bound<GetCall>, path: string, what: string): Promise<string | undefined> {
  const value = Buffer.alloc(LABEL_LIMIT);
  const outcome = await asynchronous(get, path, ATTRIBUTE, value, value.length);
  if (outcome.result < 0 && WITHOUT_LABELS.includes(errnoName(outcome.errno))) return undefined;
  const length = checkOutcome(outcome, `read the label of ${what}`);
  return value.toString('latin1', 0, length).replace(/\0$/, '');
}

async function writeLabel(set: Bound<SetCall>, path: string, label: string, what: string): Promise<boolean> {
  // As libselinux writes it.
  const value = Buffer.from(`${label}\0`, 'latin1');
  const outcome = await asynchronous(set, path, ATTRIBUTE, value, value.length, 0);
  if (outcome.result < 0 && WITHOUT_LABELS.includes(errnoName(outcome.errno))) return false;
  checkOutcome(outcome, `set the label of ${what} to ${label}`);
  return true;
}

/** False for all but a directory. `path` is the link of a descriptor. */
async function hasEntries(path: string): Promise<boolean> {
  if (!(await stat(path)).isDirectory()) return false;
  await using directory = await opendir(path);
  return (await directory.read()) !== null;
}
