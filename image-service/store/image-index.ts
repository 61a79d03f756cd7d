import type { Image } from '../image/image.ts';
import { parseReference, type Reference } from '../image/reference.ts';

/** Shorter strings are treated as names, not as prefixes of ids. */
const SHORTEST_ID = 3;

/** Looks images up by every form of reference. Immutable: rebuilt at each change. */
export class ImageIndex {
  readonly images: readonly Image[];
  readonly #byId = new Map<string, Image>();
  readonly #byName = new Map<string, Image>();

  constructor(images: readonly Image[]) {
    this.images = images;
    for (const image of images) {
      this.#byId.set(image.id, image);
      for (const name of [...image.repoTags, ...image.repoDigests]) this.#byName.set(name, image);
    }
  }

  /** By id, name, or unique short id, in this order; undefined also where a short id is not unique. */
  find(text: string): Image | undefined {
    const id = text.startsWith('sha256:') ? text : `sha256:${text}`;
    return this.#byId.get(id) ?? this.#named(text) ?? this.#short(id);
  }

  #named(text: string): Image | undefined {
    let reference: Reference;
    try {
      reference = parseReference(text);
    } catch {
      return undefined; // not a name: possibly an id
    }
    return this.#byName.get(reference.text);
  }

  #short(id: string): Image | undefined {
    if (!/^sha256:[0-9a-f]*$/.test(id) || id.length < 'sha256:'.length + SHORTEST_ID) return undefined;
    const matches = this.images.filter((image) => image.id.startsWith(id));
    return matches.length === 1 ? matches[0] : undefined;
  }
}
