import { copyAttributes } from './copy-up.ts';
import { DirectoryLinks, parentOf } from './directory-links.ts';
import { EventLoopYield } from './event-loop-yield.ts';
import { LayerTree } from './layer-tree.ts';
import type { LayerReport } from './layer-writer.ts';
import { LinkMaker, split } from './link-maker.ts';
import { LowerView } from './lower-view.ts';

/** The result of a completion: done, or paths that are symlinks below, so that the layer must be unpacked again. */
export interface Completion {
  /** By path: the target of the symlink that the lower layers have where this layer implies a directory. */
  readonly redirects: readonly (readonly [string, string])[];
  readonly bytes: number;
  readonly inodes: number;
}

/**
 * Whether the layer is self-contained: overlayfs takes the attributes of a merged directory from its top layer. Those of the
 * root are found when layers are mounted (`RootFileSystems`), so that no layer waits for others because it lacks these alone.
 */
export const isComplete = (
  report: Readonly<Record<'implied' | 'links', { readonly length: number }>>,
): boolean => report.implied.length === 0 && report.links.length === 0;

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
  const links = new LinkMaker(new DirectoryLinks(tree), view, report.rootOpaque);
  const redirects = await findRedirects(view, report.implied, links, loop);
  if (redirects.length > 0) return { redirects, bytes: 0, inodes: 0 };
  for (const [path, target] of report.links) {
    await loop.yieldIfDue();
    await links.make(path, target);
  }
  // The links' parents, created just now, get the attributes from below, too.
  for (const path of [...new Set([...report.implied, ...tree.implied()])].reverse()) {
    await loop.yieldIfDue();
    inherit(tree, view, path);
  }
  return { redirects, bytes: links.bytes, inodes: links.inodes };
}

/**
 * Implied paths come after their parents: below a symlink that was found nothing is searched. One that the layer itself hides
 * is none of its paths.
 */
export async function findRedirects(
  view: LowerView,
  implied: readonly string[],
  links: Pick<LinkMaker, 'hidesBelow'>,
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
    if (entry?.stat.isSymbolicLink() && !links.hidesBelow(path.split('/')))
      found.set(path, view.target(entry));
  }
  return [...found];
}

function inherit(tree: LayerTree, view: LowerView, path: string): void {
  const entry = view.find(path);
  if (entry?.stat.isDirectory()) copyAttributes(entry, parentOf(tree, path), split(path).base);
}
