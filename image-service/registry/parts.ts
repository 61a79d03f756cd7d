/** The rest of a large blob in parts, over several connections at once: many servers limit the rate of each. */
import { RegistryFailure } from './failure.ts';

/** Bytes of a part. */
const PART = 8 << 20;
/** Parts of one blob at once: each is a connection, and a part in memory. */
const PARTS = 3;
/** Parts at once over all blobs: 48 MiB. */
const ALL_PARTS = 6;
/** A smaller rest is not worth the further requests. */
const LEAST_REST = 24 << 20;
/** How long a transfer is watched before it is found to be slow, in ms. */
const WATCHED_MS = 1_000;

export interface PartLimits {
  readonly part: number;
  readonly leastRest: number;
  readonly watchedMs: number;
}

const usual: PartLimits = { part: PART, leastRest: LEAST_REST, watchedMs: WATCHED_MS };

/** How many parts may be in memory, over all blobs, and of which blobs. */
export class PartBudget {
  readonly limits: PartLimits;
  #free = ALL_PARTS;

  constructor(limits: PartLimits = usual) {
    this.limits = limits;
  }

  take(): boolean {
    if (this.#free === 0) return false;
    this.#free--;
    return true;
  }

  give(): void {
    this.#free++;
  }
}

/** Where parts of a blob come from: the bytes from `from` to before `to`, all of them. Throws RegistryFailure. */
export type FetchPart = (from: number, to: number, signal: AbortSignal) => Promise<Buffer>;

export interface PartSource {
  readonly fetch: FetchPart;
  readonly budget: PartBudget;
}

/** Tells when parts would be faster: when it is the connection that is waited for, not the unpacking. */
export class SlowTransfer {
  readonly #limits: PartLimits;
  readonly #since = performance.now();
  #waited = 0;

  constructor(limits: PartLimits) {
    this.#limits = limits;
  }

  /** `ms`: how long the last piece was waited for; `rest`: bytes that are still to come. */
  isSlow(ms: number, rest: number): boolean {
    this.#waited += ms;
    const watched = performance.now() - this.#since;
    return rest >= this.#limits.leastRest && watched >= this.#limits.watchedMs && this.#waited > watched / 2;
  }
}

/** The bytes of a blob from a position on, in parts that are fetched ahead. The end of the scope ends all requests. */
export class PartsAhead implements Disposable {
  readonly #source: PartSource;
  readonly #end: number;
  readonly #controller = new AbortController();
  readonly #signal: AbortSignal;
  readonly #queue: Promise<Buffer>[] = [];
  #next: number;
  #held = 0;

  constructor(source: PartSource, from: number, end: number, signal: AbortSignal) {
    this.#source = source;
    this.#next = from;
    this.#end = end;
    this.#signal = AbortSignal.any([signal, this.#controller.signal]);
    // The connection that brings what is before them is one, too.
    this.#fill(PARTS - 1);
  }

  /** Whether at least one part is on its way; else there was no room for any. */
  get started(): boolean {
    return this.#queue.length > 0;
  }

  /** The parts, in order. Throws RegistryFailure where one fails. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      this.#fill(PARTS);
      const part = this.#queue.shift();
      if (part) {
        yield await part;
        this.#release();
      } else if (this.#next < this.#end) {
        throw new RegistryFailure('RegistryUnavailable', 'no further part can be held', { transient: true });
      } else {
        return;
      }
    }
  }

  [Symbol.dispose](): void {
    this.#controller.abort(new Error('the blob is not fetched in parts any more'));
    while (this.#held > 0) this.#release();
  }

  #fill(count: number): void {
    const { fetch, budget } = this.#source;
    while (this.#queue.length < count && this.#next < this.#end && budget.take()) {
      this.#held++;
      const to = Math.min(this.#next + budget.limits.part, this.#end);
      const part = fetch(this.#next, to, this.#signal);
      part.catch(() => {}); // thrown when its turn has come
      this.#queue.push(part);
      this.#next = to;
    }
  }

  #release(): void {
    this.#held--;
    this.#source.budget.give();
  }
}
