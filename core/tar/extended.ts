import { damaged, shown, type TarEntry, unsupported } from './entry.ts';
import { entryTypes, type Header } from './header.ts';
import { type PaxFields, readPax, type SparseFields } from './pax.ts';

/**
 * The kernel's ids have 32 bits; a larger one would be taken modulo that, 2^32 for root. The last one is none: chown(2) takes
 * it for no change, which leaves the file to root.
 */
const MOST_ID = 0xfffffffe;

const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

/** What the headers say of a member. */
export interface Member {
  readonly entry: TarEntry;
  /** Bytes of content in the archive, a sparse file's map among them. */
  readonly stored: number;
  readonly sparse: SparseFields | undefined;
}

/** The headers before a member that complete its own: GNU's long names, and pax records of it or of all that follow. */
export class ExtendedHeaders {
  #longName: string | undefined;
  #longLink: string | undefined;
  #pax: PaxFields | undefined;
  #global: Omit<PaxFields, 'sparse' | 'xattrs'> = {};

  /** Whether a member must follow. */
  get pending(): boolean {
    return this.#longName !== undefined || this.#longLink !== undefined || this.#pax !== undefined;
  }

  /** Takes the content of a header of type `L`, `K`, `x` or `g`. Throws DataLoss, Unimplemented. */
  add(flag: string, body: Buffer): void {
    if (flag === 'L') this.#longName = cString(body);
    else if (flag === 'K') this.#longLink = cString(body);
    else if (flag === 'x') this.#pax = readPax(body);
    else {
      // A later global header changes what it names alone.
      const { sparse: _sparse, xattrs: _xattrs, ...fields } = readPax(body);
      this.#global = { ...this.#global, ...fields };
    }
  }

  /** The member of this header; what came before it is used up. */
  member(header: Header): Member {
    const sparse = this.#pax?.sparse;
    const pax = this.#pax ? { ...this.#global, ...this.#pax } : this.#global;
    const name = sparse?.name ?? pax.path ?? this.#longName ?? header.name;
    const link = pax.linkpath ?? this.#longLink ?? header.link;
    const xattrs = this.#pax?.xattrs ?? NO_XATTRS;
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#pax = undefined;
    // Before POSIX a directory was marked by a slash at the end of its name.
    const old = header.flag === '0' && name.endsWith('/');
    const size = pax.size ?? header.size;
    if (old && size > 0) throw damaged(`directory ${shown(name)} with content`);
    const type = old ? 'directory' : entryTypes[header.flag];
    if (!type) throw unsupported(`entry ${shown(name)} of type ${shown(header.flag)}`);
    // Only files have content: other types may carry a size that nothing follows (a hard link's).
    const stored = type === 'file' ? size : 0;
    const { mode, major, minor } = header;
    const [uid, gid] = [pax.uid ?? header.uid, pax.gid ?? header.gid];
    if (uid > MOST_ID || gid > MOST_ID) throw damaged(`entry ${shown(name)} of owner ${uid}:${gid}`);
    const mtime = pax.mtime ?? BigInt(header.mtime) * 1_000_000_000n;
    const whole = type === 'file' ? (sparse?.size ?? header.realSize ?? stored) : 0;
    const entry = { type, name, link, mode, uid, gid, size: whole, mtime, major, minor, xattrs };
    return { entry, stored, sparse: type === 'file' ? sparse : undefined };
  }
}

function cString(body: Buffer): string {
  const end = body.indexOf(0);
  return body.toString('latin1', 0, end < 0 ? body.length : end);
}
