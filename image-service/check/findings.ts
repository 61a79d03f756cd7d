import type { Trouble } from '#linux/ports/troubles.ts';
import { type CheckedObject, type CheckedStores, isPromised, nameOf } from './objects.ts';

/**
 * What is wrong: `missing`: no such file; `size`, `digest`: not those of its record; `unreadable`: the disk refuses the read;
 * `tree`: a directory has not as many files or bytes as its record; `incomplete`: an image lacks layers or blobs.
 */
export type Fault = 'missing' | 'size' | 'digest' | 'unreadable' | 'tree' | 'incomplete';

export interface Finding {
  readonly object: CheckedObject;
  readonly fault: Fault;
  /** What was found instead of what. */
  readonly message: string;
}

/** How many are named in a trouble. */
const SHOWN = 3;

/** `layer diff-… of docker.io/library/busybox:latest`. */
export function describeObject({ kind, name, images }: CheckedObject): string {
  const users = images.map(nameOf);
  if (kind === 'image') return `image ${users[0] ?? name}`;
  const more = users.length > 1 ? ` and ${users.length - 1} more` : '';
  return `${kind} ${name} of ${users[0] ?? 'no image'}${more}`;
}

/** The findings that still hold: one ends when its object is removed or replaced. */
export class Findings {
  readonly #stores: CheckedStores;
  readonly #found = new Map<string, Finding>();

  constructor(stores: CheckedStores) {
    this.#stores = stores;
  }

  add(finding: Finding): void {
    this.#found.set(finding.object.name, finding);
  }

  /** The object was found to be whole. */
  clear(name: string): void {
    this.#found.delete(name);
  }

  /** From memory. */
  troubles(): readonly Trouble[] {
    for (const [name, { object }] of this.#found)
      if (!isPromised(object, this.#stores)) this.#found.delete(name);
    const all = [...this.#found.values()];
    if (all.length === 0) return [];
    const shown = all
      .slice(0, SHOWN)
      .map(({ object, message }) => `${describeObject(object)}: ${message}`)
      .join('; ');
    const more = all.length > SHOWN ? `; and ${all.length - SHOWN} more` : '';
    return [
      {
        reason: 'ImageDamaged',
        message: `images are damaged on the disk: ${shown}${more}`,
        hint: 'run `crisp check --images --repair`, and see the kernel log: a disk may be failing',
        podsFail: false,
      },
    ];
  }
}
