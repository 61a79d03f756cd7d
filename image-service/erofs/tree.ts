import { grown } from './columns.ts';
import { Names } from './names.ts';

/** What a name of a directory stands for. */
export const kinds = {
  file: 1,
  directory: 2,
  character: 3,
  block: 4,
  fifo: 5,
  symlink: 7,
  /** A character device 0:0. */
  whiteout: 8,
  /** Nothing yet: a hard link to what the layers below have. */
  pending: 9,
} as const;

/** An entry of a directory, by its number; 0 is none. */
export type Node = number;
/** A directory, by its number. A directory that is removed keeps its number, and no other gets it. */
export type DirectoryId = number;

export const ROOT: DirectoryId = 0;

/**
 * The names of a layer as a tree. A name takes some thirty bytes of memory and its own, however long its path is. `value` of a
 * node is the number of its directory, the place of its inode, or that of a pending link.
 */
export class LayerNames {
  readonly #names = new Names();
  #count = 1;
  #nameAt = new Uint32Array(1024);
  #nameLength = new Uint8Array(1024);
  #home = new Uint32Array(1024);
  #next = new Uint32Array(1024);
  #kind = new Uint8Array(1024);
  #value = new Uint32Array(1024);
  /** Open addressing: numbers of nodes by home and name. */
  #table = new Uint32Array(2048);
  /** Unknown to who writes archives, who could otherwise choose names that collide. */
  readonly #seed = Math.floor(Math.random() * 2 ** 32);
  /** Of directories: the one above, the node, the first entry. */
  #above = new Uint32Array(256);
  #node = new Uint32Array(256);
  #first = new Uint32Array(256);
  #directories = 1;

  /** Number of directories that ever were. */
  get directories(): number {
    return this.#directories;
  }

  /** Number of names. */
  get count(): number {
    return this.#count - 1;
  }

  find(directory: DirectoryId, name: string): Node {
    for (let slot = this.#slot(directory, name); ; slot = (slot + 1) % this.#table.length) {
      const node = this.#table[slot] as number;
      if (node === 0 || this.#isNamed(node, directory, name)) return node;
    }
  }

  add(directory: DirectoryId, name: string, kind: number, value: number): Node {
    const node = this.#count++;
    this.#nameAt = grown(this.#nameAt, node);
    this.#nameLength = grown(this.#nameLength, node);
    this.#home = grown(this.#home, node);
    this.#next = grown(this.#next, node);
    this.#kind = grown(this.#kind, node);
    this.#value = grown(this.#value, node);
    this.#nameAt[node] = this.#names.add(name);
    this.#nameLength[node] = name.length;
    this.#home[node] = directory;
    this.#kind[node] = kind;
    this.#value[node] = value;
    this.#next[node] = this.#first[directory] as number;
    this.#first[directory] = node;
    if (this.#count * 4 > this.#table.length * 3) this.#rehash();
    else this.#insert(node, name);
    return node;
  }

  /** Makes a directory below another; its node is set afterwards. */
  addDirectory(above: DirectoryId): DirectoryId {
    const directory = this.#directories++;
    this.#above = grown(this.#above, directory);
    this.#node = grown(this.#node, directory);
    this.#first = grown(this.#first, directory);
    this.#above[directory] = above;
    return directory;
  }

  kind(node: Node): number {
    return this.#kind[node] as number;
  }

  value(node: Node): number {
    return this.#value[node] as number;
  }

  /** What the name stands for from now on. */
  set(node: Node, kind: number, value: number): void {
    this.#kind[node] = kind;
    this.#value[node] = value;
    if (kind === kinds.directory) this.#node[value] = node;
  }

  text(node: Node): string {
    return this.#names.text(this.#nameAt[node] as number, this.#nameLength[node] as number);
  }

  bytes(node: Node): Buffer {
    return this.#names.bytes(this.#nameAt[node] as number, this.#nameLength[node] as number);
  }

  nameLength(node: Node): number {
    return this.#nameLength[node] as number;
  }

  /** Order of names by bytes. */
  compare(a: Node, b: Node): number {
    return this.#names.compare(
      this.#nameAt[a] as number,
      this.#nameLength[a] as number,
      this.#nameAt[b] as number,
      this.#nameLength[b] as number,
    );
  }

  /** The directory above; the root is above itself. */
  above(directory: DirectoryId): DirectoryId {
    return this.#above[directory] as number;
  }

  first(directory: DirectoryId): Node {
    return this.#first[directory] as number;
  }

  next(node: Node): Node {
    return this.#next[node] as number;
  }

  /** The path of a directory; '' is the root. */
  path(directory: DirectoryId): string {
    const parts: string[] = [];
    for (let at = directory; at !== ROOT; at = this.above(at))
      parts.push(this.text(this.#node[at] as number));
    return parts.reverse().join('/');
  }

  #isNamed(node: Node, directory: DirectoryId, name: string): boolean {
    if (this.#home[node] !== directory) return false;
    return this.#names.is(this.#nameAt[node] as number, this.#nameLength[node] as number, name);
  }

  #slot(directory: DirectoryId, name: string): number {
    let hash = this.#seed ^ Math.imul(directory, 0x9e3779b1);
    for (let n = 0; n < name.length; n++) hash = Math.imul(hash ^ name.charCodeAt(n), 0x01000193);
    hash ^= hash >>> 15;
    hash = Math.imul(hash, 0x2c1b3c6d);
    return ((hash ^ (hash >>> 13)) >>> 0) % this.#table.length;
  }

  #insert(node: Node, name: string): void {
    let slot = this.#slot(this.#home[node] as number, name);
    while (this.#table[slot] !== 0) slot = (slot + 1) % this.#table.length;
    this.#table[slot] = node;
  }

  #rehash(): void {
    this.#table = new Uint32Array(this.#table.length * 2);
    for (let node = 1; node < this.#count; node++) this.#insert(node, this.text(node));
  }
}
