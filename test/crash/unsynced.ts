/**
 * A model of a disk whose power may be cut: which data and which names are sure to be there afterwards, and which may be
 * there or not. It is fed with the steps of the real files, in their order.
 *
 * Data that was not flushed may be whole, cut, zeroes or nothing. Of names that no fsync of their directory has made
 * sure, a file system that journals in order keeps the first so many; POSIX allows any choice of them.
 */
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { FileStep } from '#linux/fs/files.ts';

interface FileNode {
  readonly entries?: undefined;
  data: Buffer;
  isFlushed: boolean;
}
interface DirectoryNode {
  readonly entries: Map<string, Node>;
}
type Node = FileNode | DirectoryNode;

/** A change of names; undefined is their removal. */
interface Change {
  readonly names: readonly {
    readonly directory: DirectoryNode;
    readonly name: string;
    readonly node?: Node;
  }[];
  isSure: boolean;
}

export type Order = 'in order' | 'any order';
/** Of more un-synced changes of names than these not every choice is tried, only those of the last ones. */
const MOST_CHANGES = 7;
const LOSSES = ['whole', 'empty', 'zeroes', 'cut'] as const;
type Loss = (typeof LOSSES)[number];
/** What becomes of the data that was not flushed. */
type Fate = ReadonlyMap<FileNode, Loss>;
/** Of more files than these not every combination of losses is tried. */
const MOST_FILES = 3;

export class UnsyncedDisk {
  readonly #root: string;
  readonly #top: DirectoryNode = { entries: new Map() };
  readonly #changes: Change[] = [];
  readonly #files: FileNode[] = [];

  /** `root`: the real directory in which the steps are carried out. */
  constructor(root: string) {
    this.#root = root;
  }

  /** To be called when the step has been carried out. */
  apply(step: FileStep): void {
    const { kind, path } = step;
    if (kind === 'create') this.#change(this.#newFile(), path);
    if (kind === 'write') this.#fileAt(path).data = Buffer.from(step.data);
    if (kind === 'flush') {
      // An image that was written beside the steps.
      if (!this.#find(path)) this.#change(this.#takeIn(path), path);
      this.#fileAt(path).isFlushed = true;
    }
    if (kind === 'make directory') this.#makeDirectories(path);
    if (kind === 'rename') this.#rename(path, step.to);
    if (kind === 'exchange') this.#exchange(path, step.to);
    if (kind === 'remove tree' && this.#find(path)) this.#change(undefined, path);
    if (kind === 'sync directory') this.#sync(this.#find(path));
    if (kind !== 'sync file system') return;
    // What was made beside the steps is made to last as well.
    if (!this.#find(path)) this.#change(this.#takeIn(path), path);
    for (const change of this.#changes) change.isSure = true;
    for (const file of this.#files) file.isFlushed = true;
  }

  /** Writes each state that a power cut may leave now into a directory; `place` gives a new one for each. */
  *states(order: Order, place: () => string): Generator<string> {
    const unsure = this.#changes.filter(({ isSure }) => !isSure);
    const losses = [...fates(this.#files.filter(({ isFlushed }) => !isFlushed))];
    const seen = new Set<string>();
    for (const kept of choices(unsure, order)) {
      const tops = this.#replay(kept);
      for (const fate of losses) {
        const signature = JSON.stringify(picture(tops, fate));
        if (seen.has(signature)) continue;
        seen.add(signature);
        const directory = place();
        write(tops, directory, fate);
        yield directory;
      }
    }
  }

  /** The tree with what is sure and what has been kept. */
  #replay(kept: ReadonlySet<Change>): View {
    const views = new Map<DirectoryNode, Map<string, Node>>();
    for (const change of this.#changes) {
      if (!change.isSure && !kept.has(change)) continue;
      for (const { directory, name, node } of change.names) {
        const entries = views.get(directory) ?? new Map<string, Node>();
        views.set(directory, entries);
        if (node) entries.set(name, node);
        else entries.delete(name);
      }
    }
    return { of: this.#top, entries: (directory) => views.get(directory) ?? new Map() };
  }

  #newFile(data = Buffer.alloc(0)): FileNode {
    const file: FileNode = { data, isFlushed: false };
    this.#files.push(file);
    return file;
  }

  #directoryOf(path: string): DirectoryNode {
    this.#makeDirectories(dirname(path)); // one that was made beside the steps
    const directory = this.#find(dirname(path));
    if (directory?.entries) return directory;
    throw new Error(`the model has no directory ${dirname(path)}`);
  }

  #fileAt(path: string): FileNode {
    const file = this.#find(path);
    if (file && !file.entries) return file;
    throw new Error(`the model has no file ${path}`);
  }

  #find(path: string): Node | undefined {
    let at: Node | undefined = this.#top;
    for (const part of path.slice(this.#root.length).split('/').filter(Boolean)) at = at?.entries?.get(part);
    return at;
  }

  #change(node: Node | undefined, path: string): void {
    const directory = this.#directoryOf(path);
    this.#record([{ directory, name: basename(path), ...(node ? { node } : {}) }]);
  }

  #record(names: Change['names']): void {
    for (const { directory, name, node } of names) {
      if (node) directory.entries.set(name, node);
      else directory.entries.delete(name);
    }
    this.#changes.push({ names, isSure: false });
  }

  #makeDirectories(path: string): void {
    if (path.length <= this.#root.length || this.#find(path)) return;
    this.#makeDirectories(dirname(path));
    this.#change({ entries: new Map() }, path);
  }

  #rename(from: string, to: string): void {
    // What was made beside the steps (an unpacked layer) is taken in as it is: nothing of it is flushed.
    const node = this.#find(from) ?? this.#takeIn(to);
    const known = this.#find(dirname(from));
    const source = known?.entries?.has(basename(from)) ? known : undefined;
    this.#record([
      ...(source?.entries ? [{ directory: source, name: basename(from) }] : []),
      { directory: this.#directoryOf(to), name: basename(to), node },
    ]);
  }

  /** One change: no cut leaves one of the names alone with what the other had. */
  #exchange(one: string, other: string): void {
    const first = this.#find(one) ?? this.#takeIn(other);
    const second = this.#find(other) ?? this.#takeIn(one);
    this.#record([
      { directory: this.#directoryOf(one), name: basename(one), node: second },
      { directory: this.#directoryOf(other), name: basename(other), node: first },
    ]);
  }

  #takeIn(path: string): Node {
    if (!statSync(path).isDirectory()) return this.#newFile(readFileSync(path));
    const names = readdirSync(path);
    const directory: DirectoryNode = { entries: new Map() };
    for (const name of names) this.#record([{ directory, name, node: this.#takeIn(join(path, name)) }]);
    return directory;
  }

  #sync(directory: Node | undefined): void {
    for (const change of this.#changes)
      if (change.names.at(-1)?.directory === directory) change.isSure = true;
  }
}

interface View {
  readonly of: DirectoryNode;
  readonly entries: (directory: DirectoryNode) => ReadonlyMap<string, Node>;
}

function* choices(unsure: readonly Change[], order: Order): Generator<ReadonlySet<Change>> {
  if (order === 'in order') {
    for (let count = 0; count <= unsure.length; count++) yield new Set(unsure.slice(0, count));
    return;
  }
  const early = unsure.slice(0, -MOST_CHANGES);
  const late = unsure.slice(-MOST_CHANGES);
  for (let choice = 0; choice < 2 ** late.length; choice++) {
    const kept = late.filter((_, at) => choice & (1 << at));
    yield new Set([...early, ...kept]);
    if (early.length > 0) yield new Set(kept);
  }
}

function* fates(files: readonly FileNode[]): Generator<Fate> {
  const free = files.slice(-MOST_FILES);
  for (let choice = 0; choice < LOSSES.length ** free.length; choice++) {
    const lossOf = (at: number) =>
      LOSSES[Math.floor(choice / LOSSES.length ** at) % LOSSES.length] ?? 'whole';
    yield new Map(files.map((file) => [file, lossOf(Math.max(0, free.indexOf(file)))]));
  }
}

const lose = (file: FileNode, fate: Fate): Buffer => {
  const { data } = file;
  const loss = fate.get(file) ?? 'whole';
  if (loss === 'whole') return data;
  if (loss === 'empty') return Buffer.alloc(0);
  return loss === 'zeroes' ? Buffer.alloc(data.length) : data.subarray(0, data.length >> 1);
};

const picture = (view: View, fate: Fate, at = view.of): unknown =>
  [...view.entries(at)].map(([name, node]) => [
    name,
    node.entries ? picture(view, fate, node) : lose(node, fate).toString('latin1'),
  ]);

function write(view: View, path: string, fate: Fate, at = view.of): void {
  mkdirSync(path, { recursive: true });
  for (const [name, node] of view.entries(at)) {
    if (node.entries) write(view, join(path, name), fate, node);
    else writeFileSync(join(path, name), lose(node, fate));
  }
}
