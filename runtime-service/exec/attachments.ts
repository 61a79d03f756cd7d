import type { ContainerId } from '#core/ids.ts';

/** The clients that are attached to containers, so that a stop waits for none of them. */
export class Attachments {
  readonly #hurries = new Map<ContainerId, Set<() => void>>();

  /** `hurry` is called when the container is being stopped. The returned act forgets it. */
  add(id: ContainerId, hurry: () => void): () => void {
    const hurries = this.#hurries.get(id) ?? new Set();
    this.#hurries.set(id, hurries.add(hurry));
    return () => {
      if (hurries.delete(hurry) && hurries.size === 0) this.#hurries.delete(id);
    };
  }

  /** Has clients of the container given up that do not take what it says. */
  hurry(id: ContainerId): void {
    for (const hurry of this.#hurries.get(id) ?? []) hurry();
  }
}
