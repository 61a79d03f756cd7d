import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { errnoOf } from '#core/errors.ts';
import { cName, lgetxattr } from '#linux/sync.ts';
import { hostile, shown } from './entry.ts';
import { isWhiteout } from './whiteout.ts';

const LINK_LIMIT = 40;
const OPAQUE = cName('trusted.overlay.opaque');

/** Something in the layers below. */
export interface LowerEntry {
  /** Its path in the merged view, without links on the way. */
  readonly path: string;
  /** Where it lies on the disk. Bytes, as all paths here. */
  readonly location: Buffer;
  readonly stat: Stats;
}

/** The layers below, seen as overlayfs merges them. `layers` are directories from the top to the bottom. */
export class LowerView {
  readonly #layers: readonly string[];

  constructor(layers: readonly string[]) {
    this.#layers = layers.map((layer) => Buffer.from(layer).toString('latin1'));
  }

  /** What stands at the path. Links on the way are followed inside the view, one at the end is not. */
  find(path: string): LowerEntry | undefined {
    const todo = path.split('/').reverse();
    let here: { path: string; layers: readonly string[] } = { path: '', layers: this.#layers };
    const above: (typeof here)[] = [];
    for (let links = 0; ; ) {
      const part = todo.pop();
      if (part === undefined) return this.#itself(here);
      if (part === '' || part === '.') continue;
      if (part === '..') {
        here = above.pop() ?? here;
        continue;
      }
      const found = this.#child(here, part);
      if (!found) return undefined;
      if (todo.length === 0 && !found.entry.stat.isDirectory()) return found.entry;
      if (found.entry.stat.isSymbolicLink()) {
        if (++links > LINK_LIMIT) throw hostile(`too many links on the way to ${shown(path)}`);
        const target = readlinkSync(found.entry.location, 'latin1');
        if (target.startsWith('/')) {
          here = { path: '', layers: this.#layers };
          above.length = 0;
        }
        todo.push(...target.split('/').reverse());
        continue;
      }
      if (!found.entry.stat.isDirectory()) return undefined;
      above.push(here);
      here = { path: found.entry.path, layers: found.layers };
    }
  }

  /** The target of a link that `find` gave. */
  target(entry: LowerEntry): string {
    return readlinkSync(entry.location, 'latin1');
  }

  #itself(here: { path: string; layers: readonly string[] }): LowerEntry | undefined {
    const top = here.layers[0];
    if (top === undefined) return undefined;
    const location = place(top, here.path);
    return { path: here.path, location, stat: lstatSync(location) };
  }

  /** The child as the uppermost layer has it, and the layers that merge into it where it is a directory. */
  #child(
    parent: { path: string; layers: readonly string[] },
    part: string,
  ): { entry: LowerEntry; layers: readonly string[] } | undefined {
    const path = parent.path === '' ? part : `${parent.path}/${part}`;
    const merged: string[] = [];
    let top: LowerEntry | undefined;
    for (const layer of parent.layers) {
      const location = place(layer, path);
      const stat = lookAt(location);
      if (!stat) continue;
      if (isWhiteout(stat)) break;
      if (!stat.isDirectory()) {
        top ??= { path, location, stat };
        break;
      }
      top ??= { path, location, stat };
      merged.push(layer);
      if (isOpaque(location)) break;
    }
    return top && { entry: top, layers: merged };
  }
}

const place = (layer: string, path: string): Buffer => Buffer.from(`${layer}/${path}`, 'latin1');

function lookAt(location: Buffer): Stats | undefined {
  try {
    return lstatSync(location);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

function isOpaque(location: Buffer): boolean {
  const value = Buffer.alloc(8);
  const length = lgetxattr(Buffer.concat([location, Buffer.from([0])]), OPAQUE, value, value.length);
  return length === 1 && value[0] === 0x79;
}
