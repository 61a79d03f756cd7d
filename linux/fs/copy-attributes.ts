import { chmod, chown, stat } from 'node:fs/promises';
import { bind } from '../libc/c-library.ts';
import { checkOutcome, errnoName, naming } from '../libc/errno.ts';
import { AT_FDCWD, asynchronous, type Outcome } from '../libc/libc.ts';
import { type CName, cName } from './at-syscalls.ts';

const listxattr = bind<(path: string, list: Uint8Array | null, size: number) => number>(
  'long listxattr(const char *path, uint8_t *list, size_t size)',
);
const getxattr = bind<(path: string, name: CName, value: Uint8Array, size: number) => number>(
  'long getxattr(const char *path, const uint8_t *name, uint8_t *value, size_t size)',
);
const setxattr = bind<
  (path: string, name: CName, value: Uint8Array, size: number, setFlags: number) => number
>('int setxattr(const char *path, const uint8_t *name, const uint8_t *value, size_t size, int flags)');
const utimensat = bind<(directory: number, path: string, times: BigInt64Array, atFlags: number) => number>(
  'int utimensat(int directory, const char *path, const int64_t *times, int flags)',
);

const XATTR_LIMIT = 65_536;
const NANO = 1_000_000_000n;
/** Overlayfs's own, and the label that the node's policy has for the place. */
const OF_PLACE = /^(trusted\.overlay\..*|security\.selinux)$/;
const UNSUPPORTED = ['ENOTSUP', 'EOPNOTSUPP'];
/** Also too much for it, or not in a form that this kernel takes. */
const REFUSED = [...UNSUPPORTED, 'ENOSPC', 'E2BIG', 'ERANGE', 'EPERM', 'EINVAL'];

/**
 * Gives a directory owner, mode, extended attributes and modification time of another one, off the main thread. Extended
 * attributes that the place of `to` refuses are left out: a tmpfs has no user.* before Linux 6.6, ext4 none of 64 KiB.
 */
export async function copyAttributes(from: string, to: string): Promise<void> {
  const what = `give ${to} the attributes of ${from}`;
  const size = asynchronous(listxattr, from, null, 0);
  const [wanted, now] = await naming(what, () =>
    Promise.all([stat(from, { bigint: true }), stat(to, { bigint: true })]),
  );
  const { mode, uid, gid, mtimeNs } = wanted;
  await naming(what, async () => {
    if (uid !== now.uid || gid !== now.gid) await chown(to, Number(uid), Number(gid));
    if (mode !== now.mode) await chmod(to, Number(mode & 0o7777n));
  });
  await copyXattrs(from, to, await size, what);
  const seconds = mtimeNs / NANO - (mtimeNs % NANO < 0n ? 1n : 0n);
  const time = [seconds, mtimeNs - seconds * NANO];
  const times = new BigInt64Array([...time, ...time]);
  checkOutcome(await asynchronous(utimensat, AT_FDCWD, to, times, 0), what);
}

/** `size`: of the list of their names. */
async function copyXattrs(from: string, to: string, size: Outcome, what: string): Promise<void> {
  const failed = ({ result, errno }: Outcome, names: readonly string[]) =>
    result < 0 && names.includes(errnoName(errno));
  if (size.result === 0 || failed(size, UNSUPPORTED)) return;
  const list = Buffer.alloc(checkOutcome(size, what));
  const length = checkOutcome(await asynchronous(listxattr, from, list, list.length), what);
  const value = Buffer.alloc(XATTR_LIMIT);
  for (const name of list.toString('latin1', 0, length).split('\0')) {
    if (name === '' || OF_PLACE.test(name)) continue;
    const bytes = checkOutcome(await asynchronous(getxattr, from, cName(name), value, value.length), what);
    const set = await asynchronous(setxattr, to, cName(name), value, bytes, 0);
    if (!failed(set, REFUSED)) checkOutcome(set, what);
  }
}
