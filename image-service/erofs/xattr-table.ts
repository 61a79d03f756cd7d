import { BLOCK, roundUp } from './format.ts';
import type { ImageFile } from './image-file.ts';
import type { Metadata, Place } from './metadata.ts';

/** Bytes of the header of an inode's attributes, and of an attribute before its name. */
const HEADER = 12;
const ENTRY = 4;
const MOST_SHARED = 255;
/** The longest value: its length has sixteen bits. */
export const MOST_VALUE = 65_535;
/** The most bytes of the attributes of one inode: their number of words has sixteen bits. */
export const MOST_BODY = HEADER + 4 * (0xffff - 1);
/** The offset of a shared attribute, in words, has 32 bits. */
const MOST_OFFSET = 4 * 2 ** 32;
/** What is remembered, so that it can be shared when it comes again. */
const MOST_KNOWN = 1024;
const MOST_KNOWN_BYTES = 4096;

/** Prefixes of names that the format has a number for. */
const PREFIXES: readonly (readonly [prefix: string, index: number, whole: boolean])[] = [
  ['user.', 1, false],
  ['system.posix_acl_access', 2, true],
  ['system.posix_acl_default', 3, true],
  ['trusted.', 4, false],
  ['security.', 6, false],
];

/** The attribute as the image has it, or undefined where it cannot be stored. Characters of the name are bytes. */
export function encodeXattr(name: string, value: Uint8Array): Buffer | undefined {
  const prefix = PREFIXES.find(([text, , whole]) => (whole ? name === text : name.startsWith(text)));
  if (!prefix || value.length > MOST_VALUE) return undefined;
  const rest = name.slice(prefix[0].length);
  const entry = Buffer.alloc(roundUp(ENTRY + rest.length + value.length, 4));
  entry.writeUInt8(rest.length, 0);
  entry.writeUInt8(prefix[1], 1);
  entry.writeUInt16LE(value.length, 2);
  entry.write(rest, ENTRY, 'latin1');
  entry.set(value, ENTRY + rest.length);
  return entry;
}

/** Whether attributes of that many bytes in all can be one inode's. */
export const fitsInode = (entryBytes: number): boolean => HEADER + entryBytes <= MOST_BODY;

/** The attributes that follow an inode. */
export interface XattrBody {
  readonly bytes: number;
  /** Offsets, in words, of those that are elsewhere in the image. */
  readonly shared: readonly number[];
  readonly own: readonly Buffer[];
}

export const NO_XATTRS: XattrBody = { bytes: 0, shared: [], own: [] };

export function bodyOf(shared: readonly number[], own: readonly Buffer[]): XattrBody {
  if (shared.length === 0 && own.length === 0) return NO_XATTRS;
  const bytes = own.reduce((sum, entry) => sum + entry.length, HEADER + 4 * shared.length);
  return { bytes, shared, own };
}

export function putXattrs(bytes: Buffer, at: number, body: XattrBody): void {
  if (body.bytes === 0) return;
  bytes.fill(0, at, at + HEADER);
  bytes.writeUInt8(body.shared.length, at + 4);
  let next = at + HEADER;
  for (const id of body.shared) next = bytes.writeUInt32LE(id, next);
  for (const entry of body.own) {
    bytes.set(entry, next);
    next += entry.length;
  }
}

/**
 * Attributes that several inodes have are stored once. What came once stays with its inode; when it comes again it is
 * stored by itself, and from then on shared.
 */
export class XattrTable {
  readonly #image: ImageFile;
  readonly #metadata: Metadata;
  /** By the bytes of an attribute: its place, or undefined while it came once. */
  readonly #known = new Map<string, Place | undefined>();

  constructor(image: ImageFile, metadata: Metadata) {
    this.#image = image;
    this.#metadata = metadata;
  }

  /** For an inode that is written next. May append to the image. */
  body(entries: Iterable<Buffer>): XattrBody {
    const shared: number[] = [];
    const own: Buffer[] = [];
    for (const entry of entries) {
      const place = shared.length < MOST_SHARED ? this.#again(entry) : undefined;
      const id = place === undefined ? undefined : this.id(place);
      if (id === undefined) own.push(entry);
      else shared.push(id);
    }
    return bodyOf(shared, own);
  }

  /** Stores an attribute by itself, for an inode that is written at the end. */
  store(entry: Buffer): Place {
    const key = keyOf(entry);
    const known = key === undefined ? undefined : this.#known.get(key);
    if (known !== undefined) return known;
    const place = this.#put(entry);
    if (key !== undefined && (this.#known.has(key) || this.#known.size < MOST_KNOWN))
      this.#known.set(key, place);
    return place;
  }

  /** The number by which inodes refer to a stored attribute; undefined beyond 16 GiB. */
  id(place: Place): number | undefined {
    const offset = this.#metadata.offsetInImage(place);
    return offset < MOST_OFFSET ? offset / 4 : undefined;
  }

  /** A stored attribute. */
  read(place: Place): Buffer {
    const offset = this.#metadata.offsetInImage(place);
    const head = this.#image.read(offset, ENTRY);
    return this.#image.read(offset, roundUp(ENTRY + head.readUInt8(0) + head.readUInt16LE(2), 4));
  }

  /** The place of an attribute that came before; remembers one that comes first. */
  #again(entry: Buffer): Place | undefined {
    const key = keyOf(entry);
    if (key === undefined) return undefined;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.#known.has(key)) {
      if (this.#image.position + 2 * BLOCK >= MOST_OFFSET) return undefined;
      const place = this.#put(entry);
      this.#known.set(key, place);
      return place;
    }
    if (this.#known.size < MOST_KNOWN) this.#known.set(key, undefined);
    return undefined;
  }

  #put(entry: Buffer): Place {
    if (entry.length > BLOCK) return this.#metadata.large([entry]);
    const place = this.#metadata.reserve(entry.length);
    this.#metadata.bytes.set(entry, this.#metadata.offsetOf(place));
    return place;
  }
}

const keyOf = (entry: Buffer): string | undefined =>
  entry.length > MOST_KNOWN_BYTES ? undefined : entry.toString('latin1');
