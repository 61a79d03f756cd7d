/**
 * CHECK of the networks of pods that run, once after a restart of the daemon, in the background: one pod after another. It finds
 * what others have changed or lost meanwhile, is reported, and changes nothing: whether such a pod is to be replaced is for those
 * who see it. A stop or removal of the pod ends its check.
 */
import { describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { hasCheck } from '../network/network.ts';
import { livingNetns } from './undo.ts';

/** The last CHECK of a pod. */
export interface NetworkCheck {
  /** Nanoseconds since the epoch. */
  readonly at: bigint;
  /** undefined: all was there. */
  readonly error: string | undefined;
}

export class NetworkChecks {
  readonly #context: Context;
  readonly #results = new Map<SandboxId, NetworkCheck>();
  readonly #running = new Map<SandboxId, AbortController>();
  readonly #closing = new AbortController();

  constructor(context: Context) {
    this.#context = context;
    context.sandboxes.onChange((kind, { id }) => {
      if (kind === 'removed') this.#results.delete(id);
    });
  }

  /** Checks all pods that are ready now. `exclusively` queues other verbs on the same sandbox. Never throws. */
  async all(
    exclusively: (id: SandboxId, act: () => Promise<void>) => Promise<void>,
    op: Operation,
  ): Promise<void> {
    for (const { id } of this.#context.sandboxes.list()) {
      if (this.#closing.signal.aborted) return;
      await exclusively(id, () => this.#check(id, op)).catch((error: unknown) =>
        op.log.debug({ sandbox: id, error: describeError(error) }, 'the network of a pod was not checked'),
      );
    }
  }

  /** From memory; undefined where it was not checked since the start. */
  of(id: SandboxId): NetworkCheck | undefined {
    return this.#results.get(id);
  }

  /** Ends a running check of the pod. */
  cancel(id: SandboxId): void {
    this.#running.get(id)?.abort();
  }

  close(): void {
    this.#closing.abort();
  }

  async #check(id: SandboxId, op: Operation): Promise<void> {
    const { sandboxes, cni } = this.#context;
    const record = sandboxes.get(id);
    if (record?.state.name !== 'ready') return;
    const attachments = record.attachments.filter(hasCheck);
    if (attachments.length === 0) return;
    const stopped = new AbortController();
    this.#running.set(id, stopped);
    const signal = AbortSignal.any([op.signal, stopped.signal, this.#closing.signal]);
    let error: string | undefined;
    try {
      const netns = await livingNetns(this.#context, record);
      for (const attachment of attachments) await cni.check(id, attachment, netns, op.under(signal));
    } catch (failure) {
      if (signal.aborted) return;
      error = describeError(failure);
      op.log.warn(
        { sandbox: id, error },
        'CNI CHECK failed: the network of a running pod is not as it was made',
      );
    } finally {
      this.#running.delete(id);
    }
    this.#results.set(id, { at: BigInt(Date.now()) * 1_000_000n, error });
  }
}
