import { CrispError } from '#core/errors.ts';
import type { UnpackLimits } from '../options.ts';

/** Of the paths of directories without an entry: a few megabytes where a tool writes no entry at all. */
const IMPLIED_BYTES = 64 << 20;

/** Of the names and targets of hard links to what is not in the layer: three hundred thousand of usual lengths. */
const LINK_BYTES = 64 << 20;

/** Counts what a layer creates: one name in an archive may imply two thousand directories. */
export class LayerSize {
  readonly #limits: Pick<UnpackLimits, 'layerEntries'>;
  #entries = 0;
  #impliedBytes = 0;
  #linkBytes = 0;

  constructor(limits: Pick<UnpackLimits, 'layerEntries'>) {
    this.#limits = limits;
  }

  /** How many there were. */
  get entries(): number {
    return this.#entries;
  }

  /** Throws ResourceExhausted past the limit of entries. */
  entry(): void {
    const { layerEntries } = this.#limits;
    if (++this.#entries <= layerEntries) return;
    throw new CrispError('ResourceExhausted', `layer archive: more than ${layerEntries} entries`, {
      hint: 'raise the limit of entries in a layer, if the image is trusted',
    });
  }

  /** Counts a directory without an entry like one with an entry; its path is kept in memory. */
  implied(path: string): void {
    this.entry();
    this.#impliedBytes += path.length;
    if (this.#impliedBytes <= IMPLIED_BYTES) return;
    const message = `layer archive: the names of directories without an entry have more than ${IMPLIED_BYTES} bytes`;
    throw new CrispError('ResourceExhausted', message, {
      hint: 'rebuild the image with a tool that writes an entry for each directory',
    });
  }

  /** Counts a hard link to what is not in the layer; both names are kept in memory. */
  link(path: string, target: string): void {
    this.#linkBytes += path.length + target.length;
    if (this.#linkBytes <= LINK_BYTES) return;
    const message = `layer archive: the names of hard links to files of lower layers have more than ${LINK_BYTES} bytes`;
    throw new CrispError('ResourceExhausted', message, {
      hint: 'rebuild the image with the links and their files in one layer',
    });
  }
}
