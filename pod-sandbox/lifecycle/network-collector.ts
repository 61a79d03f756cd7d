/**
 * Rounds of `collect-networks.ts` in the background: after the recovery, and periodically. An attachment without a record is
 * undone when two rounds, a minute apart, have found it: another runtime may be just making it. A round that has failed, on a node
 * that is busy with its start, is made again after the same time.
 */
import { describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { collectNetworks, findOrphans, type Orphan, orphanKey, releaseOrphans } from './collect-networks.ts';
import { sharedIdsInUse } from './foreign-pods.ts';
import { networksInUse } from './networks-in-use.ts';
import { podsWithoutRecord } from './pods-without-record.ts';

/** Milliseconds from the round that has found an orphan to the next one. */
const RECHECK_MS = 60_000;

/** How many attachments of lost pods a round has released, and could not release. */
export interface CollectionReport {
  readonly released: number;
  readonly failed: number;
}

export interface CollectorOptions {
  /** Milliseconds between rounds, as it is now; 0: none. */
  readonly interval: () => number;
  readonly onRound: (report: CollectionReport) => void;
  readonly recheckMs?: number;
}

export class NetworkCollector {
  readonly #context: Context;
  readonly #options: CollectorOptions;
  readonly #closing = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #begun = false;
  /** Milliseconds, as of the last `#schedule`. */
  #interval = 0;
  /** Orphans that the last round has found and not yet undone, and when one has found them first (`performance.now`). */
  #suspects: ReadonlyMap<string, number> = new Map();
  /** Whether the last round did not come to its end. */
  #failed = false;
  /** The pods that no GC could be told of at the last round. */
  #missing = '';

  constructor(context: Context, options: CollectorOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** Begins the rounds, the first at once. */
  begin(): void {
    this.#begun = true;
    this.#schedule(0);
  }

  /** The interval may have changed; if not, the next round comes when it would have come. */
  update(): void {
    if (this.#begun && this.#options.interval() !== this.#interval) this.#schedule(this.#wait());
  }

  /** Ends a running round. */
  async close(): Promise<void> {
    this.#closing.abort();
    clearTimeout(this.#timer);
    await this.#running;
  }

  #schedule(wait: number): void {
    clearTimeout(this.#timer);
    this.#interval = this.#options.interval();
    if (this.#closing.signal.aborted || this.#interval === 0) return;
    this.#timer = setTimeout(() => {
      this.#running = this.#running.then(() => this.#round());
    }, wait).unref();
  }

  async #round(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const op = new Operation('network collection', { log: this.#context.log, signal: this.#closing.signal });
    try {
      await this.#collect(op);
      this.#failed = false;
    } catch (error) {
      this.#failed = true;
      if (!op.signal.aborted)
        op.log.warn(
          { error: describeError(error) },
          'what lost pods hold of networks is not looked for; it is tried again later',
        );
    }
    this.#schedule(this.#wait());
  }

  #wait(): number {
    const { recheckMs = RECHECK_MS, interval } = this.#options;
    return this.#failed || this.#suspects.size > 0 ? Math.min(recheckMs, interval()) : interval();
  }

  async #collect(op: Operation): Promise<void> {
    const now = performance.now();
    const { recheckMs = RECHECK_MS } = this.#options;
    const since = (orphan: Orphan) => this.#suspects.get(orphanKey(orphan)) ?? now;
    // A timer may be early by a millisecond; an interval shorter than that only looks more often.
    const isConfirmed = (orphan: Orphan) => now - since(orphan) >= recheckMs - 1;
    const networks = await networksInUse(this.#context);
    const round = { networks, isConfirmed, living: sharedIdsInUse(op.signal) };
    if (await this.#knowsAllPods(op)) await collectNetworks(this.#context, round, op);
    const orphans = await findOrphans(this.#context, round, op);
    const again = orphans.filter(isConfirmed);
    const waiting = orphans.filter((orphan) => !again.includes(orphan));
    this.#suspects = new Map(waiting.map((orphan) => [orphanKey(orphan), since(orphan)]));
    const report = { released: 0, failed: 0 };
    for (const [id, orphans] of Map.groupBy(again, (orphan) => orphan.id as SandboxId)) {
      if (op.signal.aborted) return;
      const isReleased = await releaseOrphans(this.#context, id, orphans, op);
      report[isReleased ? 'released' : 'failed'] += orphans.length;
    }
    if (again.length > 0) this.#options.onRound(report);
  }

  /** GC takes away the network of each pod that it is not told of. What is missing is logged once. */
  async #knowsAllPods(op: Operation): Promise<boolean> {
    const missing = await podsWithoutRecord(this.#context, op);
    const text = missing.join(' ');
    if (missing.length > 0 && text !== this.#missing)
      op.log.warn(
        { sandboxes: missing },
        'no CNI GC: the records of these pods are not loaded, and it would take their networks away; start the crisp that can read them, or remove their directories',
      );
    this.#missing = text;
    return missing.length === 0;
  }
}
