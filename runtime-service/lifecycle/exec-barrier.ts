import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerId } from '#core/ids.ts';
import type { Processes, ProcessRef } from '#linux/ports/kernel.ts';

/** The OCI runtime's last steps take a few milliseconds; past this the signal is sent whoever gets it. */
const LIMIT_MS = 1000;
const POLL_MS = 1;

/**
 * When the OCI start returns, the OCI runtime's own child may still stand where the user's program is about to begin. A
 * signal that meets it there is lost, or ends it as a failure that is not the program's: runc's exits with 2 at SIGTERM.
 */
export class ExecBarrier {
  readonly #processes: Pick<Processes, 'executable'>;
  readonly #before = new Map<ContainerId, { readonly process: ProcessRef; readonly program: string }>();

  constructor(processes: Pick<Processes, 'executable'>) {
    this.#processes = processes;
  }

  /** To be told before the OCI start. */
  begin(id: ContainerId, process: ProcessRef): void {
    const program = this.#processes.executable(process);
    if (program !== undefined) this.#before.set(id, { process, program });
  }

  forget(id: ContainerId): void {
    this.#before.delete(id);
  }

  /** Resolves when the user's program has begun, or has ended. One that an earlier daemon has started has begun. */
  async over(id: ContainerId): Promise<void> {
    const before = this.#before.get(id);
    if (!before) return;
    const until = performance.now() + LIMIT_MS;
    while (this.#processes.executable(before.process) === before.program && performance.now() < until)
      await sleep(POLL_MS);
    this.forget(id);
  }
}
