/**
 * The root of a tree, opened: its path was checked before, minutes ago where the walk had to wait, and a container may rename
 * directories above it. No link on the way is followed, and what is there must be what was checked.
 */
import { fstat, fstatSync } from 'node:fs';
import { promisify } from 'node:util';
import { CrispError } from '#core/errors.ts';
import { close } from '../fs/at-syscalls.ts';
import { check, checkOutcome } from '../libc/errno.ts';
import { AT_FDCWD, O_CLOEXEC, O_PATH, openat2, openat2Async } from '../libc/libc.ts';
import type { RelabelTree } from '../ports/selinux.ts';

const RESOLVE_NO_MAGICLINKS = 2n;
const RESOLVE_NO_SYMLINKS = 4n;
const how = new BigUint64Array([BigInt(O_PATH | O_CLOEXEC), 0n, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS]);
const statOf = promisify(fstat) as (
  fd: number,
  options: { bigint: true },
) => Promise<{ dev: bigint; ino: bigint }>;

type Root = Pick<RelabelTree, 'path' | 'id'>;

/** Opens the root for an act (O_PATH). Blocks the thread. */
export function withRootSync<T>({ path, id }: Root, act: (fd: number) => T): T {
  const fd = check(openat2(AT_FDCWD, path, how), `open ${path}`);
  try {
    refuseOther(path, id, fstatSync(fd, { bigint: true }));
    return act(fd);
  } finally {
    close(fd);
  }
}

/** The same off the main thread. The act gets the root's `id` too. */
export async function withRoot<T>(
  { path, id }: Root,
  act: (fd: number, id: string) => Promise<T>,
): Promise<T> {
  const fd = checkOutcome(await openat2Async(AT_FDCWD, path, how), `open ${path}`);
  try {
    const found = await statOf(fd, { bigint: true });
    refuseOther(path, id, found);
    return await act(fd, idOf(found));
  } finally {
    close(fd);
  }
}

const idOf = ({ dev, ino }: { dev: bigint; ino: bigint }): string => `${dev}:${ino}`;

/** Throws Aborted where this is not the file that was checked. */
export function refuseOther(path: string, id: string | undefined, found: { dev: bigint; ino: bigint }): void {
  if (id === undefined || id === idOf(found)) return;
  throw new CrispError('Aborted', `relabel ${path}: another file is there than when it was checked`, {
    hint: 'retry: a volume, or a directory above it, was replaced meanwhile',
  });
}
