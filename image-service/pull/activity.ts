import type { Digest } from '#core/ids.ts';

/** How far the rate of a transfer looks back, in ms. */
const WINDOW_MS = 5_000;

/** A blob in transfer, by its reports of progress. Times are milliseconds of the monotonic clock. */
export class Transfer implements Disposable {
  received = 0;
  readonly #ended: () => void;
  #reports: { readonly at: number; readonly received: number }[];

  constructor(ended: () => void = () => {}, now = performance.now()) {
    this.#ended = ended;
    this.#reports = [{ at: now, received: 0 }];
  }

  /** Takes the bytes so far; fewer than before where the transfer has restarted. */
  report(received: number, now = performance.now()): void {
    if (received < this.received) this.#reports = [];
    this.received = received;
    // One that is older than the window stays, as its beginning.
    const first = this.#reports.findLastIndex(({ at }) => at <= now - WINDOW_MS);
    if (first > 0) this.#reports.splice(0, first);
    this.#reports.push({ at: now, received });
  }

  /** Bytes per second over the last five seconds. */
  rate(now = performance.now()): number {
    const begin = this.#reports.findLast(({ at }) => at <= now - WINDOW_MS) ?? this.#reports[0];
    if (!begin || now <= begin.at) return 0;
    return ((this.received - begin.received) * 1000) / (now - begin.at);
  }

  [Symbol.dispose](): void {
    this.#ended();
  }
}

/** One layer while it is unpacked. */
export interface Unpacking extends Disposable {
  /** A thread has begun. */
  start(): void;
  /** It has waited so long for bytes, in ms: that is the network's time. */
  waited(ms: number): void;
}

/**
 * The blobs in transfer and the layers that are unpacked, over all pulls: a pull shows the progress of a transfer that it
 * has joined as that of its own.
 */
export class Activity {
  readonly #transfers = new Map<Digest, Transfer>();
  readonly #unpacking = new Set<string>();
  readonly #unpacked: (ms: number) => void;

  /** `unpacked`: called with how long each layer took, also one that failed. */
  constructor(unpacked: (ms: number) => void = () => {}) {
    this.#unpacked = unpacked;
  }

  /** Shows a transfer until the end of the scope. */
  transfer(digest: Digest): Transfer {
    const transfer: Transfer = new Transfer(() => {
      if (this.#transfers.get(digest) === transfer) this.#transfers.delete(digest);
    });
    this.#transfers.set(digest, transfer);
    return transfer;
  }

  /** Shows a layer as being unpacked from the start to the end of the scope; without a start nothing. */
  unpack(chainId: string): Unpacking {
    let started: number | undefined;
    let waited = 0;
    return {
      start: () => {
        started ??= performance.now();
        this.#unpacking.add(chainId);
      },
      waited: (ms) => {
        waited += ms;
      },
      [Symbol.dispose]: () => {
        if (started === undefined) return;
        this.#unpacking.delete(chainId);
        this.#unpacked(Math.max(0, performance.now() - started - waited));
      },
    };
  }

  transferOf(digest: Digest): Transfer | undefined {
    return this.#transfers.get(digest);
  }

  isUnpacking(chainId: string): boolean {
    return this.#unpacking.has(chainId);
  }
}
