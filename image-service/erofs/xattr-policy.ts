import type { CName } from '#linux/fs/at-syscalls.ts';
import type { TarEntry } from '../unpack/entry.ts';
import type { Xattrs } from '../unpack/xattrs.ts';
import { changeAcl, readAcl } from './acl.ts';
import { encodeXattr, fitsInode } from './xattr-table.ts';

/** What a kernel's file system returns for what it refuses. */
const [EPERM, EACCES, EINVAL, ENOTSUP] = [-1, -13, -22, -95] as const;
const SETGID = 0o2000;
/** listxattr(2) returns no more bytes of names. */
const MOST_NAMES = 65_536;
const EFFECTIVE = 1;
/** Bytes by revision; the kernel sets no older one. */
const CAPABILITY_FORMS: ReadonlyMap<number, number> = new Map([
  [2, 20],
  [3, 24],
]);

export const ACCESS_ACL = 'system.posix_acl_access';
const DEFAULT_ACL = 'system.posix_acl_default';

/** The attributes of an entry as the image stores them, by name, and the permission bits that they lead to. */
export interface SelectedXattrs {
  readonly entries: ReadonlyMap<string, Buffer>;
  readonly mode: number;
}

const NOTHING: ReadonlyMap<string, Buffer> = new Map();

/** What of an entry's attributes a file system would set, in the same order: owner, mode, attributes. */
export function selectXattrs(entry: TarEntry, policy: Xattrs): SelectedXattrs {
  if (entry.xattrs.size === 0) return { entries: NOTHING, mode: entry.mode };
  const set = new XattrSet(entry);
  policy.apply(entry, (name, value) => set.set(name, value), 'set attributes of a file of a layer');
  return set;
}

/** A set of attributes that refuses what the kernel refuses. */
class XattrSet implements SelectedXattrs {
  readonly #type: TarEntry['type'];
  readonly entries = new Map<string, Buffer>();
  mode: number;
  #bytes = 0;
  #names = 0;

  constructor({ type, mode }: TarEntry) {
    this.#type = type;
    this.mode = mode;
  }

  /** Returns 0 or a negative errno. */
  set(cName: CName, value: Uint8Array): number {
    const name = Buffer.from(cName.buffer, cName.byteOffset, cName.byteLength - 1).toString('latin1');
    if (name === ACCESS_ACL || name === DEFAULT_ACL) return this.#setAcl(name, value);
    if (name.startsWith('user.') && this.#type !== 'file' && this.#type !== 'directory') return EPERM;
    if (name === 'security.capability' && !isCapability(value)) return EINVAL;
    return this.#add(name, value);
  }

  #setAcl(name: string, value: Uint8Array): number {
    if (this.#type === 'symlink') return ENOTSUP;
    const acl = readAcl(value);
    if (acl.form === 'other version') return ENOTSUP;
    if (acl.form === 'invalid') return EINVAL;
    if (acl.form === 'empty') return 0;
    if (name === DEFAULT_ACL) return this.#type === 'directory' ? this.#add(name, value) : EACCES;
    // A directory gets the whole of its mode again, at the end, where it has a setgid bit.
    if (this.#type === 'directory' && (this.mode & SETGID) !== 0)
      return acl.form === 'list' ? this.#add(name, changeAcl(value, this.mode)) : 0;
    const result = acl.form === 'list' ? this.#add(name, value) : 0;
    if (result === 0) this.mode = (this.mode & ~0o777) | (acl.bits ?? 0);
    return result;
  }

  #add(name: string, value: Uint8Array): number {
    const entry = encodeXattr(name, value);
    if (!entry || !fitsInode(this.#bytes + entry.length)) return ENOTSUP;
    if (this.#names + name.length + 1 > MOST_NAMES) return ENOTSUP;
    this.#bytes += entry.length;
    this.#names += name.length + 1;
    this.entries.set(name, entry);
    return 0;
  }
}

/**
 * Whether the length is that of the revision, and no other bit than that of the effective flag is set beside it (Linux,
 * include/uapi/linux/capability.h and security/commoncap.c). Nothing is looked at in an empty value.
 */
function isCapability(value: Uint8Array): boolean {
  if (value.length === 0) return true;
  const [flags = 0, second, third, revision = 0] = value;
  if ((flags & ~EFFECTIVE) !== 0 || second !== 0 || third !== 0) return false;
  return CAPABILITY_FORMS.get(revision) === value.length;
}
