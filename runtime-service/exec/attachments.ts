import type { ContainerId } from '#core/ids.ts';

/** The clients that are attached to containers, so that a stop waits for none of them. */
export class Attachments {
  readonly #listeners = new Map<ContainerId, Set<() => void>>();

  /** `listener` is called when the container is being stopped. The returned function removes it. */
  add(id: ContainerId, listener: () => void): () => void {
    const listeners = this.#listeners.get(id) ?? new Set();
    this.#listeners.set(id, listeners.add(listener));
    return () => {
      if (listeners.delete(listener) && listeners.size === 0) this.#listeners.delete(id);
    };
  }

  /** Shortens the time after which clients that do not read the container's output are disconnected. */
  onStopping(id: ContainerId): void {
    for (const listener of this.#listeners.get(id) ?? []) listener();
  }
}
