import { fstatSync } from 'node:fs';
import { cName, must, utimensat } from '#linux/fs/at-syscalls.ts';
import { copyAttributes, copyUp, link, timesOfStat } from './copy-up.ts';
import { hostile, shown } from './entry.ts';
import { EventLoopYield } from './event-loop-yield.ts';
import { type Directory, join, LayerTree } from './layer-tree.ts';
import type { LayerReport } from './layer-writer.ts';
import { LowerView } from './lower-view.ts';
import { isOpaque, isWhiteout } from './whiteout.ts';

/** The result of a completion: done, or paths that are symlinks below, so that the layer must be unpacked again. */
export interface Completion {
  /** By path: the target of the symlink that the lower layers have where this layer implies a directory. */
  readonly redirects: readonly (readonly [string, string])[];
  readonly bytes: number;
  readonly inodes: number;
}

/** Whether the layer is self-contained: overlayfs takes the attributes of a merged directory from its top layer. */
export const isComplete = (report: LayerReport): boolean =>
  report.rootDeclared && report.implied.length === 0 && report.links.length === 0;

/**
 * Completes a layer against its chain: `lower` are directories from the top to the bottom, none for the lowest layer.
 * Directories that came without an entry get the attributes that they have below, and hard links get their target.
 */
export async function completeLayer(
  directory: string,
  lower: readonly string[],
  report: LayerReport,
  signal: AbortSignal,
): Promise<Completion> {
  using tree = new LayerTree(directory);
  const loop = new EventLoopYield(signal);
  const view = new LowerView(lower);
  const redirects = await findRedirects(view, report.implied, loop);
  if (redirects.length > 0) return { redirects, bytes: 0, inodes: 0 };
  const links = new LinkMaker(tree, view, report.rootOpaque);
  for (const [path, target] of report.links) {
    await loop.yieldIfDue();
    links.make(path, target);
  }
  // The links' parents, created just now, get the attributes from below, too.
  for (const path of [...new Set([...report.implied, ...tree.implied()])].reverse()) {
    await loop.yieldIfDue();
    inherit(tree, view, path);
  }
  if (!report.rootDeclared) inheritRoot(tree, view);
  return { redirects, bytes: links.bytes, inodes: links.inodes };
}

/** Implied paths come after their parents: below a symlink that was found nothing is searched. */
async function findRedirects(
  view: LowerView,
  implied: readonly string[],
  loop: EventLoopYield,
): Promise<[string, string][]> {
  const found = new Map<string, string>();
  const below = new Set<string>();
  for (const path of implied) {
    await loop.yieldIfDue();
    const above = path.slice(0, Math.max(0, path.lastIndexOf('/')));
    if (found.has(above) || below.has(above)) {
      below.add(path);
      continue;
    }
    const entry = view.find(path);
    if (entry?.stat.isSymbolicLink()) found.set(path, view.target(entry));
  }
  return [...found];
}

/** Hard links in their order, each to what its target was at that place of the archive. */
class LinkMaker {
  readonly #tree: LayerTree;
  readonly #view: LowerView;
  readonly #rootOpaque: boolean;
  /** What this has made, by path; all else in the layer came with the archive, after the link. */
  readonly #made = new Set<string>();
  /** Where the content of a lower entry is that this layer hides, by the path of the entry. */
  readonly #copies = new Map<string, string>();
  bytes = 0;
  inodes = 0;

  constructor(tree: LayerTree, view: LowerView, rootOpaque: boolean) {
    this.#tree = tree;
    this.#view = view;
    this.#rootOpaque = rootOpaque;
  }

  make(path: string, target: string): void {
    const found = this.#found(target) ?? this.#fromBelow(path, target);
    if (found !== path) {
      const at = parentOf(this.#tree, path);
      const from = parentOf(this.#tree, found);
      keepTimes(at, () => link(from, split(found).base, at, split(path).base));
    }
    this.#made.add(path);
  }

  /** The target, where this has made it. */
  #found(target: string): string | undefined {
    if (this.#made.has(target)) return target;
    const entry = this.#view.find(target);
    if (entry) return this.#made.has(entry.path) ? entry.path : this.#copies.get(entry.path);
    // No layer has it, but the archive does, after the link.
    const { parts, base } = split(target);
    const local = this.#tree.existing(parts);
    const stat = local && this.#tree.stat(local, cName(base));
    return local && stat && !isWhiteout(stat) ? join(local.path, base) : undefined;
  }

  /** Copies the target to its own path, or to that of the link where its own would make visible what this layer hides. */
  #fromBelow(path: string, target: string): string {
    const entry = this.#view.find(target);
    if (!entry) throw hostile(`hard link ${shown(path)} to ${shown(target)}, which no layer has`);
    const place = this.#hides(entry.path) ? path : entry.path;
    if (place === path) this.#copies.set(entry.path, path);
    const home = parentOf(this.#tree, place);
    keepTimes(home, () => copyUp(entry, home, split(place).base, () => this.#view.target(entry)));
    this.#made.add(place);
    this.inodes++;
    this.bytes += entry.stat.blocks * 512;
    return place;
  }

  /** Whether the layer has deleted or replaced what lies below at this path, or a directory above it. */
  #hides(path: string): boolean {
    if (this.#rootOpaque) return true;
    const parts = path.split('/');
    for (const [at, part] of parts.entries()) {
      const directory = this.#tree.existing(parts.slice(0, at));
      const stat = directory && this.#tree.stat(directory, cName(part));
      if (!directory || !stat) return false;
      if (!stat.isDirectory()) return true;
      if (isOpaque(cName(`/proc/self/fd/${directory.fd}/${part}`))) return true;
    }
    return true;
  }
}

/** The directory's own time was set at the end of the archive. */
function keepTimes(at: Directory, act: () => void): void {
  const before = fstatSync(at.fd);
  act();
  must(utimensat(at.fd, cName('.'), timesOfStat(before), 0), `set time of ${shown(at.path)}`);
}

function inherit(tree: LayerTree, view: LowerView, path: string): void {
  const entry = view.find(path);
  if (entry?.stat.isDirectory()) copyAttributes(entry, parentOf(tree, path), split(path).base);
}

function inheritRoot(tree: LayerTree, view: LowerView): void {
  const root = view.find('');
  const itself: Directory = { fd: tree.root, path: '' };
  if (root && fstatSync(tree.root).isDirectory()) copyAttributes(root, itself, '.');
}

const parentOf = (tree: LayerTree, path: string): Directory => tree.directory(split(path).parts);

function split(path: string): { parts: string[]; base: string } {
  const parts = path.split('/');
  const base = parts.pop() ?? '';
  return { parts, base };
}
