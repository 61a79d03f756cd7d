/** What a container sees of a tree, entry by entry: for comparisons of one layer in its two forms. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { closeSync, type Dirent, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { cName, lgetxattr, llistxattr } from '#linux/fs/at-syscalls.ts';

const XATTR_BYTES = 65_536;
const PIECE_BYTES = 1 << 20;
/** Of files larger than this only the pieces at these places are read: they are holes. */
const LARGE_BYTES = 1 << 28;

export interface SeenEntry {
  readonly type: string;
  /** Permission bits with setuid, setgid and sticky, in octal. */
  readonly mode: string;
  readonly owner: string;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
  /** Of all but directories, whose size is the file system's own. */
  readonly size?: bigint;
  readonly links: bigint;
  /** SHA-256 of a file's content. */
  readonly content?: string;
  /** Target of a symbolic link, as bytes. */
  readonly target?: string;
  readonly device?: bigint;
  /** By name, in its order: the value in hex, of a long one its SHA-256. */
  readonly xattrs: Readonly<Record<string, string>>;
  /** The first path of the same inode, in the order of paths; of all but directories. */
  readonly sharesInode?: string;
}

/** By path, whose characters are bytes (latin1); '' is the top. */
export type SeenTree = ReadonlyMap<string, SeenEntry>;

/** What an overlay lists, but does not find: a whiteout in a directory that one layer alone has. */
const nameAlone: SeenEntry = { type: 'whiteout', mode: '', owner: '', mtime: 0n, links: 0n, xattrs: {} };

/** Reads a whole tree as the kernel shows it. Throws where a listing and a lookup contradict each other. */
export function seeTree(root: string): SeenTree {
  const seen = new Map<string, SeenEntry>();
  const inodes = new Map<string, string>();
  const todo = [''];
  for (let path = todo.pop(); path !== undefined; path = todo.pop()) {
    const location = locationOf(root, path);
    const stat = lstatSync(location, { bigint: true, throwIfNoEntry: false });
    if (!stat) {
      seen.set(path, nameAlone);
      continue;
    }
    const isDirectory = stat.isDirectory();
    if (isDirectory) for (const child of childrenOf(location, path).sort().reverse()) todo.push(child);
    const inode = `${stat.dev} ${stat.ino}`;
    if (!isDirectory && !inodes.has(inode)) inodes.set(inode, path);
    seen.set(path, {
      type: typeOf(stat),
      mode: (stat.mode & 0o7777n).toString(8),
      owner: `${stat.uid}:${stat.gid}`,
      mtime: stat.mtimeNs,
      links: stat.nlink,
      xattrs: xattrsOf(location),
      ...(isDirectory ? {} : { size: stat.size, sharesInode: inodes.get(inode) ?? '' }),
      ...(stat.isFile() ? { content: contentOf(location, stat.size) } : {}),
      ...(stat.isSymbolicLink() ? { target: readlinkSync(location, 'latin1') } : {}),
      ...(stat.isCharacterDevice() || stat.isBlockDevice() ? { device: stat.rdev } : {}),
    });
  }
  return seen;
}

/** Asserts that both trees have the same entries; the message names the first that differ. */
export function assertSameTree(actual: SeenTree, expected: SeenTree, what = ''): void {
  const shown = (path: string) => JSON.stringify(Buffer.from(path, 'latin1').toString());
  const missing = [...expected.keys()].filter((path) => !actual.has(path));
  const surplus = [...actual.keys()].filter((path) => !expected.has(path));
  assert.deepEqual({ missing, surplus }, { missing: [], surplus: [] }, what || undefined);
  for (const [path, entry] of expected) {
    const found = actual.get(path);
    assert.deepEqual(
      { path, ...found },
      { path, ...entry },
      `${what} ${shown(path)}:\n found    ${text(found)}\n expected ${text(entry)}`,
    );
  }
}

const text = (entry: SeenEntry | undefined): string =>
  JSON.stringify(entry, (_, value) => (typeof value === 'bigint' ? String(value) : value));

export const locationOf = (root: string, path: string): Buffer =>
  Buffer.concat([Buffer.from(root), Buffer.from(`/${path}`, 'latin1')]);

type Kinds = Pick<
  Dirent,
  'isFile' | 'isDirectory' | 'isSymbolicLink' | 'isCharacterDevice' | 'isBlockDevice' | 'isFIFO'
>;

function typeOf(entry: Kinds): string {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'directory';
  if (entry.isSymbolicLink()) return 'symlink';
  if (entry.isCharacterDevice()) return 'character';
  if (entry.isBlockDevice()) return 'block';
  return entry.isFIFO() ? 'fifo' : 'other';
}

function childrenOf(location: Buffer, path: string): string[] {
  const names = new Set<string>();
  for (const entry of readdirSync(location, { withFileTypes: true, encoding: 'buffer' })) {
    const name = entry.name.toString('latin1');
    const where = `${JSON.stringify(name)} in ${JSON.stringify(path)}`;
    assert.ok(!names.has(name), `${where} is listed twice`);
    names.add(name);
    const found = lstatSync(Buffer.concat([location, Buffer.from('/'), entry.name]), {
      throwIfNoEntry: false,
    });
    if (found) assert.equal(typeOf(entry), typeOf(found), `the type of ${where} as listed, and as looked up`);
    else assert.equal(typeOf(entry), 'character', `${where} is listed, and not found`);
  }
  return [...names].map((name) => (path === '' ? name : `${path}/${name}`));
}

function xattrsOf(location: Buffer): Record<string, string> {
  const file = cName(location.toString('latin1'));
  const list = Buffer.alloc(XATTR_BYTES);
  const length = llistxattr(file, list, list.length);
  assert.ok(length >= 0, `the attributes of ${location}: errno ${-length}`);
  const names = list.toString('latin1', 0, length).split('\0').filter(Boolean).sort();
  return Object.fromEntries(names.map((name) => [name, attributeOf(file, name)]));
}

function attributeOf(file: Uint8Array, name: string): string {
  const value = Buffer.alloc(XATTR_BYTES);
  const size = lgetxattr(file, cName(name), value, value.length);
  if (size < 0) return `errno ${-size}`;
  return size <= 64 ? value.toString('hex', 0, size) : `${size} bytes ${sha256([value.subarray(0, size)])}`;
}

function sha256(pieces: Iterable<Uint8Array>): string {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}

function contentOf(location: Buffer, size: bigint): string {
  const fd = openSync(location, 'r');
  try {
    if (size <= LARGE_BYTES) return sha256(pieces(fd, 0, Number(size) + 1));
    const places = [0n, size >> 1n, size - BigInt(PIECE_BYTES)];
    return places.map((place) => sha256(pieces(fd, place, PIECE_BYTES))).join();
  } finally {
    closeSync(fd);
  }
}

function* pieces(fd: number, from: number | bigint, length: number): Generator<Uint8Array> {
  const buffer = Buffer.alloc(Math.min(length, PIECE_BYTES));
  for (let left = length, at = BigInt(from); left > 0; ) {
    const count = readSync(fd, buffer, 0, Math.min(left, buffer.length), at);
    if (count === 0) return;
    yield buffer.subarray(0, count);
    at += BigInt(count);
    left -= count;
  }
}
