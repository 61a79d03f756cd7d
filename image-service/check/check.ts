import type { Operation } from '#core/operation.ts';
import type { CheckObserver } from '../ports.ts';
import { Semaphore } from '../semaphore.ts';
import { describeObject, type Finding, Findings } from './findings.ts';
import { bytesToRead, type CheckedObject, type CheckedStores, checkedObjects } from './objects.ts';
import { type Repair, type RepairParts, Repairs } from './repair.ts';
import { CheckThread } from './thread.ts';
import { verifyObject } from './verify-object.ts';

/** What a run of a check reports, in this order: the plan, findings and progress, repairs, the end. */
export type CheckEvent =
  | { readonly kind: 'plan'; readonly objects: number; readonly bytes: number }
  | {
      readonly kind: 'progress';
      readonly object: CheckedObject;
      readonly objects: number;
      readonly bytes: number;
    }
  | ({ readonly kind: 'finding' } & Finding)
  | { readonly kind: 'repairing'; readonly finding: Finding }
  | ({ readonly kind: 'repair'; readonly finding: Finding } & { readonly outcome: Repair })
  | {
      readonly kind: 'end';
      readonly layers: number;
      readonly blobs: number;
      readonly images: number;
      readonly bytes: number;
      readonly findings: number;
      readonly repaired: number;
    };

export interface CheckParts extends RepairParts {
  readonly observer: CheckObserver;
}

/** How often progress is reported, in ms. */
const PROGRESS_MS = 500;

/** Compares what is on the disk with what the records promise, one object at a time over all runs. */
export class ImageChecks {
  readonly #parts: CheckParts;
  readonly #one = new Semaphore(1);
  readonly #findings: Findings;
  /** For each running check: the images that clients have removed meanwhile. */
  readonly #removed = new Set<Set<string>>();
  #foreground = 0;
  /** The object of the background check, which gives way. */
  #background: AbortController | undefined;

  constructor(parts: CheckParts) {
    this.#parts = parts;
    this.#findings = new Findings(parts);
  }

  get stores(): CheckedStores {
    return this.#parts;
  }

  readonly troubles = () => this.#findings.troubles();

  /** A client has removed the image: a repair that pulls it at this time removes it again. */
  removed(id: string): void {
    for (const set of this.#removed) set.add(id);
  }

  /** A client has pulled it. */
  pulled(id: string): void {
    for (const set of this.#removed) set.delete(id);
  }

  /**
   * Checks all objects, and repairs what is damaged where that is asked for. Ends at the abort of the operation with its
   * reason: what is being pulled is then as with any pull that is cancelled.
   */
  async *run({ repair }: { readonly repair: boolean }, op: Operation): AsyncGenerator<CheckEvent> {
    const removed = new Set<string>();
    this.#removed.add(removed);
    this.#foreground++;
    this.#background?.abort();
    try {
      await using thread = new CheckThread();
      const findings: Finding[] = [];
      const counts = { layers: 0, blobs: 0, images: 0, bytes: 0 };
      const objects = checkedObjects(this.#parts);
      yield {
        kind: 'plan',
        objects: objects.length,
        bytes: objects.reduce((sum, one) => sum + bytesToRead(one), 0),
      };
      for (const [index, object] of objects.entries()) {
        const before = { objects: index, bytes: counts.bytes };
        const finding = yield* this.#watched(object, thread, before, op);
        counts[`${object.kind}s`]++;
        counts.bytes += bytesToRead(object);
        if (!finding) continue;
        findings.push(finding);
        yield { kind: 'finding', ...finding };
      }
      const repaired = repair ? yield* this.#repair(findings, removed, op) : 0;
      yield { kind: 'end', ...counts, findings: findings.length, repaired };
    } finally {
      this.#foreground--;
      this.#removed.delete(removed);
    }
  }

  /** Checks one object at a limited rate, unless a run of `run` is in progress, to which it gives way. */
  async inBackground(object: CheckedObject, bytesPerSecond: number, op: Operation): Promise<void> {
    if (this.#foreground > 0) return;
    const controller = new AbortController();
    this.#background = controller;
    try {
      await using thread = new CheckThread();
      const signal = AbortSignal.any([controller.signal, op.signal]);
      await this.#verify(object, thread, { bytesPerSecond, progress: () => {}, signal }, op);
    } catch (error) {
      if (!controller.signal.aborted) throw error;
    } finally {
      this.#background = undefined;
    }
  }

  /** Checks a layer that the kernel refuses to mount, before everything else; undefined: it is what was written. */
  async refused(key: string, op: Operation): Promise<Finding | undefined> {
    const record = this.#parts.layers.get(key);
    if (!record) return undefined;
    // A layer that no image names yet is among those below one that is being written.
    const known = checkedObjects(this.#parts).find(({ kind, name }) => kind === 'layer' && name === key);
    const object: CheckedObject = known ?? { kind: 'layer', name: key, record, images: [] };
    this.#foreground++;
    this.#background?.abort();
    try {
      await using thread = new CheckThread();
      const settings = { bytesPerSecond: Infinity, progress: () => {}, signal: op.signal };
      return await this.#verify(object, thread, settings, op);
    } finally {
      this.#foreground--;
    }
  }

  async *#watched(
    object: CheckedObject,
    thread: CheckThread,
    before: { readonly objects: number; readonly bytes: number },
    op: Operation,
  ): AsyncGenerator<CheckEvent, Finding | undefined> {
    let bytes = 0;
    const settings = {
      bytesPerSecond: Infinity,
      progress: (read: number) => {
        bytes = read;
      },
      signal: op.signal,
    };
    const verified = this.#verify(object, thread, settings, op).then((finding) => ({ finding }));
    verified.catch(() => {}); // a caller that returns early does not wait for it
    for (;;) {
      const { promise: tick, resolve } = Promise.withResolvers<undefined>();
      const timer = setTimeout(() => resolve(undefined), PROGRESS_MS);
      const done = await Promise.race([verified, tick]).finally(() => clearTimeout(timer));
      if (done) return done.finding;
      yield { kind: 'progress', object, objects: before.objects, bytes: before.bytes + bytes };
    }
  }

  async #verify(
    object: CheckedObject,
    thread: CheckThread,
    settings: Parameters<typeof verifyObject>[3],
    op: Operation,
  ): Promise<Finding | undefined> {
    using _one = await this.#one.acquire(settings.signal);
    const finding = await verifyObject(object, this.#parts, thread, settings);
    this.#parts.observer.verified(bytesToRead(object));
    if (!finding) {
      this.#findings.clear(object.name);
      return undefined;
    }
    this.#findings.add(finding);
    this.#parts.observer.damaged(object.kind);
    const { fault, message } = finding;
    op.log.error(
      { [object.kind]: object.name, images: object.images.map(({ id }) => id), fault },
      `${describeObject(object)} is damaged: ${message}`,
    );
    return finding;
  }

  async *#repair(
    findings: readonly Finding[],
    removed: ReadonlySet<string>,
    op: Operation,
  ): AsyncGenerator<CheckEvent, number> {
    const repairs = new Repairs(this.#parts, removed);
    for (const finding of findings) await repairs.condemn(finding);
    let count = 0;
    for (const finding of findings) {
      op.checkpoint();
      yield { kind: 'repairing', finding };
      const outcome = await repairs.repair(finding, op);
      const { object } = finding;
      if (outcome.repaired) {
        count++;
        this.#findings.clear(object.name);
      }
      const fields = { [object.kind]: object.name, repaired: outcome.repaired };
      op.log[outcome.repaired ? 'info' : 'warn'](fields, `${describeObject(object)}: ${outcome.message}`);
      yield { kind: 'repair', finding, outcome };
    }
    return count;
  }
}
