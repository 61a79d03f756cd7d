import { CrispError } from '#core/errors.ts';
import { changeAcl } from './acl.ts';
import { grown } from './columns.ts';
import type { Attributes } from './inode.ts';
import type { Place } from './metadata.ts';
import type { DirectoryId } from './tree.ts';
import { ACCESS_ACL } from './xattr-policy.ts';
import { encodeXattr, type XattrTable } from './xattr-table.ts';

/** Of the names of directories' attributes, which are in memory. */
const NAME_BYTES = 64 << 20;
/** What an inode can refer to elsewhere in the image. */
const MOST_XATTRS = 255;
const NANO = 1_000_000_000n;
const flags = { implied: 1, opaque: 2, dead: 4 } as const;

/** Attributes of directories, which are written last: their entries are not known before. */
export class DirectoryTable {
  readonly #xattrTable: XattrTable;
  #mode = new Uint16Array(256);
  #uid = new Uint32Array(256);
  #gid = new Uint32Array(256);
  #seconds = new Float64Array(256);
  #nanos = new Uint32Array(256);
  #flags = new Uint8Array(256);
  /** By directory and name: where the attribute is stored. */
  readonly #xattrs = new Map<DirectoryId, Map<string, Place>>();
  #nameBytes = 0;

  constructor(xattrTable: XattrTable) {
    this.#xattrTable = xattrTable;
  }

  set(directory: DirectoryId, { mode, uid, gid, mtime }: Attributes): void {
    this.#mode = grown(this.#mode, directory);
    this.#uid = grown(this.#uid, directory);
    this.#gid = grown(this.#gid, directory);
    this.#seconds = grown(this.#seconds, directory);
    this.#nanos = grown(this.#nanos, directory);
    this.#flags = grown(this.#flags, directory);
    this.#mode[directory] = mode;
    this.#uid[directory] = uid;
    this.#gid[directory] = gid;
    const nanos = ((mtime % NANO) + NANO) % NANO;
    this.#seconds[directory] = Number((mtime - nanos) / NANO);
    this.#nanos[directory] = Number(nanos);
  }

  get(directory: DirectoryId): Attributes {
    const mtime =
      BigInt(this.#seconds[directory] as number) * NANO + BigInt(this.#nanos[directory] as number);
    return {
      mode: this.#mode[directory] as number,
      uid: this.#uid[directory] as number,
      gid: this.#gid[directory] as number,
      mtime,
    };
  }

  isImplied(directory: DirectoryId): boolean {
    return this.#is(directory, flags.implied);
  }

  setImplied(directory: DirectoryId, implied: boolean): void {
    this.#mark(directory, flags.implied, implied);
  }

  isOpaque(directory: DirectoryId): boolean {
    return this.#is(directory, flags.opaque);
  }

  /** Hides what lower layers have in the directory. */
  setOpaque(directory: DirectoryId): void {
    if (this.isOpaque(directory)) return;
    this.#mark(directory, flags.opaque, true);
    const name = 'trusted.overlay.opaque';
    const entry = encodeXattr(name, Buffer.from('y'));
    if (entry) this.setXattr(directory, name, entry);
  }

  isDead(directory: DirectoryId): boolean {
    return this.#is(directory, flags.dead);
  }

  /** The directory was replaced. */
  kill(directory: DirectoryId): void {
    this.#mark(directory, flags.dead, true);
    this.#xattrs.delete(directory);
  }

  /** Sets an attribute; returns whether there was room for it. */
  setXattr(directory: DirectoryId, name: string, entry: Buffer): boolean {
    let xattrs = this.#xattrs.get(directory);
    if (!xattrs) {
      xattrs = new Map();
      this.#xattrs.set(directory, xattrs);
    }
    if (!xattrs.has(name)) {
      // One is kept free: whether a directory is opaque is not to be lost.
      if (xattrs.size >= MOST_XATTRS - 1 && name !== 'trusted.overlay.opaque') return false;
      this.#nameBytes += name.length;
      if (this.#nameBytes > NAME_BYTES) {
        const why = `the names of directories' extended attributes have more than ${NAME_BYTES} bytes`;
        throw new CrispError('ResourceExhausted', `layer archive: ${why}`, {
          hint: 'rebuild the image with fewer extended attributes',
        });
      }
    }
    xattrs.set(name, this.#xattrTable.store(entry));
    return true;
  }

  /** The access control list follows a change of the mode. */
  changeMode(directory: DirectoryId, mode: number): void {
    const place = this.#xattrs.get(directory)?.get(ACCESS_ACL);
    if (place === undefined) return;
    const entry = this.#xattrTable.read(place);
    const value = entry.subarray(4, 4 + entry.readUInt16LE(2));
    const changed = encodeXattr(ACCESS_ACL, changeAcl(value, mode));
    if (changed) this.setXattr(directory, ACCESS_ACL, changed);
  }

  /** Places of the attributes, in the order in which they were set. */
  xattrs(directory: DirectoryId): readonly Place[] {
    return [...(this.#xattrs.get(directory)?.values() ?? [])];
  }

  #is(directory: DirectoryId, flag: number): boolean {
    return ((this.#flags[directory] as number) & flag) !== 0;
  }

  #mark(directory: DirectoryId, flag: number, on: boolean): void {
    const before = this.#flags[directory] as number;
    this.#flags[directory] = on ? before | flag : before & ~flag;
  }
}
