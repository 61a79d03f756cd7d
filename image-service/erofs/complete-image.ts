import { lstatSync } from 'node:fs';
import { type Completion, findRedirects } from '../unpack/complete.ts';
import { EventLoopYield } from '../unpack/event-loop-yield.ts';
import type { LayerReport } from '../unpack/layer-writer.ts';
import { LinkMaker } from '../unpack/link-maker.ts';
import { type LowerEntry, LowerView } from '../unpack/lower-view.ts';
import type { ImageBuilder } from './builder.ts';
import { ImageLinks } from './image-links.ts';
import { lowerAttributes, lowerXattrs } from './lower-entry.ts';
import { LayerPaths } from './paths.ts';
import type { DirectoryId } from './tree.ts';

/** Completes a layer against its chain: `completeLayer` for an image that is still open. */
export async function completeImage(
  builder: ImageBuilder,
  lower: readonly string[],
  report: LayerReport,
  signal: AbortSignal,
): Promise<Completion> {
  const loop = new EventLoopYield(signal);
  const view = new LowerView(lower);
  const before = { bytes: builder.image.position, inodes: builder.inodes };
  const implied: DirectoryId[] = [];
  const paths = new LayerPaths(builder.names, {
    redirects: new Map(),
    target: (node) => builder.target(node),
    imply: (at, name, node) => {
      if (node !== 0) builder.release(node, () => {});
      const directory = builder.makeDirectory(at, name, { mode: 0o755, uid: 0, gid: 0, mtime: 0n });
      implied.push(directory);
      return directory;
    },
  });
  const links = new LinkMaker(new ImageLinks(builder, paths, loop), view, report.rootOpaque);
  const redirects = await findRedirects(view, report.implied, links, loop);
  if (redirects.length > 0) return { redirects, bytes: 0, inodes: 0 };
  for (const [path, target] of report.links) {
    await loop.yieldIfDue();
    await links.make(path, target);
  }
  // The links' parents, created just now, get the attributes from below, too.
  const directories = [...report.implied.map((path) => paths.directory(path.split('/'))), ...implied];
  for (const directory of new Set(directories)) {
    await loop.yieldIfDue();
    const entry = view.find(builder.names.path(directory));
    if (entry) inherit(builder, directory, entry);
  }
  return { redirects, bytes: builder.image.position - before.bytes, inodes: builder.inodes - before.inodes };
}

/** Gives a directory owner, mode, xattrs and time of the one below. */
function inherit(
  { directories }: ImageBuilder,
  directory: DirectoryId,
  { location, path }: LowerEntry,
): void {
  const stat = lstatSync(location, { bigint: true });
  if (!stat.isDirectory()) return;
  directories.set(directory, lowerAttributes(stat));
  for (const [name, entry] of lowerXattrs(location, path)) directories.setXattr(directory, name, entry);
}
