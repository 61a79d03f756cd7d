/** The objects of one path as a watch shows them, and waits for what they become. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { KubernetesObject } from '@kubernetes/client-node';
import { ApiError, describeFailure, type Query } from './rest.ts';

/** What `Watched` needs of the API server: `Rest` has it. */
export interface WatchSource {
  json<T>(
    method: 'GET',
    path: string,
    request: { readonly query?: Query; readonly signal?: AbortSignal },
  ): Promise<T>;
  lines(
    path: string,
    request: { readonly query?: Query; readonly signal?: AbortSignal },
  ): AsyncGenerator<string>;
}

export interface Wait {
  /** Completes "not within 180 s: ". */
  readonly what: string;
  /** Milliseconds. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** What the objects show at the deadline. */
  readonly reason?: () => string;
}

interface List<T> {
  readonly metadata?: { readonly resourceVersion?: string };
  readonly items: readonly T[];
}

interface Change<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: T;
}

/** Between attempts to reach an API server that does not answer. */
const RETRY_MS = 500;
/** The server ends a watch after this, in seconds, and it is begun again: also where a proxy has dropped the connection without a word. */
const WATCH_SECONDS = 240;

export class Watched<T extends KubernetesObject> {
  readonly #source: WatchSource;
  readonly #path: string;
  readonly #present = new Map<string, T>();
  readonly #last = new Map<string, T>();
  readonly #waiting = new Set<() => void>();
  #trouble: string | undefined;

  constructor(source: WatchSource, path: string) {
    this.#source = source;
    this.#path = path;
  }

  /** Follows the changes until the signal. Resolves then; never rejects. */
  async follow(signal: AbortSignal): Promise<void> {
    let version: string | undefined;
    while (!signal.aborted) {
      try {
        version ??= await this.#list(signal);
        version = await this.#watch(version, signal);
        this.#trouble = undefined;
      } catch (error) {
        if (signal.aborted) return;
        this.#trouble = describeFailure(error);
        version = undefined; // what has happened since is in the next list
        await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  get(name: string): T | undefined {
    return this.#present.get(name);
  }

  /** As it was last, also after its deletion. */
  last(name: string): T | undefined {
    return this.#last.get(name);
  }

  all(): T[] {
    return [...this.#present.values()];
  }

  /**
   * What `pick` returns once it is not undefined: called now and after each change. It may throw, which ends the wait. Throws at the
   * deadline an error with the reason, at the signal its reason.
   */
  async until<R>(pick: () => R | undefined, { what, timeoutMs, signal, reason }: Wait): Promise<R> {
    const found = pick();
    if (found !== undefined) return found;
    signal.throwIfAborted();
    const result = Promise.withResolvers<R>();
    const look = (): void => {
      try {
        const value = pick();
        if (value !== undefined) result.resolve(value);
      } catch (error) {
        result.reject(error);
      }
    };
    const late = (): void => {
      const shown = [reason?.(), this.#trouble && `the watch fails: ${this.#trouble}`].filter(Boolean);
      result.reject(
        new Error(`${what}: not within ${timeoutMs / 1000} s: ${shown.join('; ') || 'no change'}`),
      );
    };
    const stop = (): void => result.reject(signal.reason);
    const timer = setTimeout(late, timeoutMs);
    signal.addEventListener('abort', stop, { once: true });
    this.#waiting.add(look);
    try {
      return await result.promise;
    } finally {
      this.#waiting.delete(look);
      signal.removeEventListener('abort', stop);
      clearTimeout(timer);
    }
  }

  async #list(signal: AbortSignal): Promise<string> {
    const { items, metadata } = await this.#source.json<List<T>>('GET', this.#path, { signal });
    this.#present.clear();
    for (const item of items) this.#put(item);
    this.#changed();
    return metadata?.resourceVersion ?? '0';
  }

  /** Returns the version to go on from. Throws where that cannot be: then the objects are listed anew. */
  async #watch(from: string, signal: AbortSignal): Promise<string> {
    let version = from;
    const query = {
      watch: true,
      allowWatchBookmarks: true,
      resourceVersion: from,
      timeoutSeconds: WATCH_SECONDS,
    };
    for await (const line of this.#source.lines(this.#path, { query, signal })) {
      if (line === '') continue;
      const { type, object } = JSON.parse(line) as Change<T>;
      if (type === 'ERROR') {
        const { code, message } = object as { code?: number; message?: string };
        throw new ApiError(`watch of ${this.#path}`, code ?? 0, message ?? 'without a message'); // 410: too old
      }
      version = object.metadata?.resourceVersion ?? version;
      if (type === 'BOOKMARK') continue;
      if (type === 'DELETED') {
        this.#put(object);
        this.#present.delete(object.metadata?.name ?? '');
      } else this.#put(object);
      this.#changed();
    }
    return version;
  }

  #put(object: T): void {
    const name = object.metadata?.name ?? '';
    this.#present.set(name, object);
    this.#last.set(name, object);
  }

  #changed(): void {
    for (const look of [...this.#waiting]) look();
  }
}
