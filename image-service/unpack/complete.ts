import { fstatSync } from 'node:fs';
import { cName, must, utimensat } from '#linux/fs/at-syscalls.ts';
import { copyAttributes, copyUp, link, timesOfStat } from './copy-up.ts';
import { hostile, shown } from './entry.ts';
import { EventLoopYield } from './event-loop-yield.ts';
import { type Directory, LayerTree } from './layer-tree.ts';
import type { LayerReport } from './layer-writer.ts';
import { LowerView } from './lower-view.ts';

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
  const added = { bytes: 0, inodes: 0 };
  for (const [path, target] of report.links) {
    await loop.yieldIfDue();
    makeLink(tree, view, path, target, added);
  }
  // The links' parents, created just now, get the attributes from below, too.
  for (const path of [...new Set([...report.implied, ...tree.implied()])].reverse()) {
    await loop.yieldIfDue();
    inherit(tree, view, path);
  }
  if (!report.rootDeclared) inheritRoot(tree, view);
  return { redirects, ...added };
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

function makeLink(
  tree: LayerTree,
  view: LowerView,
  path: string,
  target: string,
  added: { bytes: number; inodes: number },
): void {
  const at = parentOf(tree, path);
  const local = tree.existing(split(target).parts);
  if (local && tree.stat(local, cName(split(target).base))) {
    keepTimes(at, () => link(local, split(target).base, at, split(path).base));
    return;
  }
  const entry = view.find(target);
  if (!entry) throw hostile(`hard link ${shown(path)} to ${shown(target)}, which no layer has`);
  const home = parentOf(tree, entry.path);
  const { base } = split(entry.path);
  if (!tree.stat(home, cName(base))) {
    keepTimes(home, () => copyUp(entry, home, base, () => view.target(entry)));
    added.inodes++;
    added.bytes += entry.stat.blocks * 512;
  }
  keepTimes(at, () => link(home, base, at, split(path).base));
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
