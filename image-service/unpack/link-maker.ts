import { hostile, shown } from './entry.ts';
import type { LowerEntry, LowerView } from './lower-view.ts';

/** What a layer has at a path. */
export interface FoundInLayer {
  /** Without symlinks. */
  readonly path: string;
  /** `opaque`: a directory that hides what lower layers have in it. */
  readonly kind: 'directory' | 'opaque' | 'whiteout' | 'other';
}

/** The layer that gets links: a directory or an image. Symlinks of the layer are followed, but not as the last component. */
export interface LayerOfLinks {
  find(path: string): FoundInLayer | undefined;
  /** Gives what is at `from` a further name; what an earlier link has brought there is replaced. */
  link(from: string, to: string): void;
  /** Copies a file, symlink, device or FIFO of a lower layer to a place, the same way; returns its bytes on the disk. */
  copy(entry: LowerEntry, place: string, target: () => string): number | Promise<number>;
}

/** Hard links in their order, each to what its target was at that place of the archive. */
export class LinkMaker {
  readonly #layer: LayerOfLinks;
  readonly #view: LowerView;
  readonly #rootOpaque: boolean;
  /** What this has made, by path; all else in the layer came with the archive, after the link. */
  readonly #made = new Set<string>();
  /** Where the content of a lower entry is that this layer hides, by the path of the entry. */
  readonly #copies = new Map<string, string>();
  /** By directory: whether this layer hides what is in it. */
  readonly #hidden = new Map<string, boolean>();
  bytes = 0;
  inodes = 0;

  constructor(layer: LayerOfLinks, view: LowerView, rootOpaque: boolean) {
    this.#layer = layer;
    this.#view = view;
    this.#rootOpaque = rootOpaque;
  }

  async make(path: string, target: string): Promise<void> {
    const found = this.#found(target) ?? (await this.#fromBelow(path, target));
    if (found !== path) this.#layer.link(found, path);
    this.#made.add(path);
  }

  /** The target, where this has made it. */
  #found(target: string): string | undefined {
    if (this.#made.has(target)) return target;
    const entry = this.#view.find(target);
    if (entry) return this.#made.has(entry.path) ? entry.path : this.#copies.get(entry.path);
    // No layer has it, but the archive does, after the link.
    const local = this.#layer.find(target);
    if (!local || local.kind === 'whiteout') return undefined;
    if (local.kind !== 'other') throw hostile(`a hard link to the directory ${shown(target)}`);
    return local.path;
  }

  /** Copies the target to its own path, or to that of the link where its own would make visible what this layer hides. */
  async #fromBelow(path: string, target: string): Promise<string> {
    const entry = this.#view.find(target);
    if (!entry) throw hostile(`hard link ${shown(path)} to ${shown(target)}, which no layer has`);
    const place = this.#hides(entry.path) ? path : entry.path;
    if (place === path) this.#copies.set(entry.path, path);
    this.bytes += await this.#layer.copy(entry, place, () => this.#view.target(entry));
    this.inodes++;
    this.#made.add(place);
    return place;
  }

  /** Whether the layer has deleted or replaced what lies below at this path, or a directory above it. */
  #hides(path: string): boolean {
    return this.hidesBelow(split(path).parts) || this.#layer.find(path) !== undefined;
  }

  /**
   * Whether the layer hides all that lies below at this directory and in it; links, and what is made for them, change nothing
   * of it.
   */
  hidesBelow(parts: readonly string[]): boolean {
    if (parts.length === 0) return this.#rootOpaque;
    const path = parts.join('/');
    const known = this.#hidden.get(path);
    if (known !== undefined) return known;
    const hidden =
      this.hidesBelow(parts.slice(0, -1)) || (this.#layer.find(path)?.kind ?? 'directory') !== 'directory';
    this.#hidden.set(path, hidden);
    return hidden;
  }
}

/** The components of the directory of a path, and its last one. */
export function split(path: string): { parts: string[]; base: string } {
  const parts = path.split('/');
  const base = parts.pop() ?? '';
  return { parts, base };
}
