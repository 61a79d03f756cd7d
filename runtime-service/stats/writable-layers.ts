/**
 * How much each container has written on top of its image. Walking a tree may take long, so it is done in the
 * background, one tree after another, and readers get the result of the last walk, with its time.
 */
import { describeError, hasCode } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Log } from '#core/operation.ts';
import type { Usage } from '#linux/ports/stats.ts';

/** An older result is measured again when it is read; the reader gets the older one. */
const FRESH_MS = 10_000;
/** A walk that took long is not repeated before so many times its own length. */
const REST = 20;

export interface LayerUsage {
  readonly bytes: bigint;
  readonly inodes: bigint;
  /** When it was measured; nanoseconds since the epoch. */
  readonly at: bigint;
}

interface Measured {
  readonly usage: LayerUsage;
  /** Milliseconds of the monotonic clock from which on it may be measured again. */
  readonly due: number;
}

export class WritableLayers {
  readonly #known = new Map<ContainerId, Measured>();
  readonly #waiting = new Set<ContainerId>();
  readonly #usage: Pick<Usage, 'tree'>;
  readonly #pathOf: (id: ContainerId) => string;
  readonly #log: Log;
  readonly #closing = new AbortController();
  #walking: Promise<void> | undefined;

  /** `pathOf` gives the directory that holds a container's own files. */
  constructor(usage: Pick<Usage, 'tree'>, pathOf: (id: ContainerId) => string, log: Log) {
    this.#usage = usage;
    this.#pathOf = pathOf;
    this.#log = log;
  }

  /** What is known, at once; undefined before the first walk. Has it measured again where it is old. */
  get(id: ContainerId): LayerUsage | undefined {
    const known = this.#known.get(id);
    if (!known || known.due <= performance.now()) this.measure(id);
    return known?.usage;
  }

  /** Measures it in its turn. */
  measure(id: ContainerId): void {
    if (this.#closing.signal.aborted) return;
    this.#waiting.add(id);
    this.#walking ??= this.#walkAll().finally(() => {
      this.#walking = undefined;
    });
  }

  /** Of a container that is gone. */
  forget(id: ContainerId): void {
    this.#known.delete(id);
    this.#waiting.delete(id);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#walking;
  }

  async #walkAll(): Promise<void> {
    for (const id of this.#waiting) {
      if (this.#closing.signal.aborted) return;
      const started = performance.now();
      try {
        const { bytes, inodes } = await this.#usage.tree(this.#pathOf(id), this.#closing.signal);
        // Removed meanwhile: it would never be forgotten.
        if (!this.#waiting.delete(id)) continue;
        const took = performance.now() - started;
        const at = BigInt(Date.now()) * 1_000_000n;
        this.#known.set(id, {
          usage: { bytes, inodes, at },
          due: performance.now() + Math.max(FRESH_MS, took * REST),
        });
      } catch (error) {
        this.#waiting.delete(id);
        if (this.#closing.signal.aborted) return;
        const fields = { container: id, error: describeError(error) };
        if (!hasCode(error, 'NotFound')) this.#log.warn(fields, 'writable layer is not measured');
      }
    }
  }
}
