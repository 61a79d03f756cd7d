/** Watches pause processes: the end of one ends its sandbox without an RPC (contract section 2). */
import { describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Log } from '#core/operation.ts';
import type { Namespaces, ProcessRef } from '#linux/ports/kernel.ts';

export class Watches {
  readonly #namespaces: Pick<Namespaces, 'watch'>;
  readonly #log: Log;
  readonly #onEnd: (id: SandboxId) => void;
  readonly #running = new Map<SandboxId, AbortController>();

  constructor(namespaces: Pick<Namespaces, 'watch'>, log: Log, onEnd: (id: SandboxId) => void) {
    this.#namespaces = namespaces;
    this.#log = log;
    this.#onEnd = onEnd;
  }

  start(id: SandboxId, process: ProcessRef): void {
    this.end(id);
    const controller = new AbortController();
    this.#running.set(id, controller);
    void this.#watch(id, process, controller.signal);
  }

  /** Called before crisp kills the process itself. */
  end(id: SandboxId): void {
    this.#running.get(id)?.abort();
    this.#running.delete(id);
  }

  close(): void {
    for (const id of [...this.#running.keys()]) this.end(id);
  }

  async #watch(id: SandboxId, process: ProcessRef, signal: AbortSignal): Promise<void> {
    try {
      await this.#namespaces.watch(process, signal);
    } catch (error) {
      if (!signal.aborted)
        this.#log.error({ sandbox: id, error: describeError(error) }, 'a pause process is not watched');
      return;
    }
    if (signal.aborted) return;
    this.#running.delete(id);
    this.#onEnd(id);
  }
}
