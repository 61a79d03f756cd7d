import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerId } from '#core/ids.ts';
import type { Processes, ProcessRef } from '#linux/ports/kernel.ts';

/** The OCI runtime's last steps take a few milliseconds; past this the signal is sent anyway. */
const LIMIT_MS = 1000;
const POLL_MS = 1;

/**
 * When the OCI start returns, the container's process may not have executed the user's program yet. A signal that comes
 * before the execve(2) is lost, or makes the OCI runtime's own code fail: runc's exits with 2 at SIGTERM.
 */
export class ExecBarrier {
  readonly #processes: Pick<Processes, 'executable'>;
  readonly #before = new Map<ContainerId, { readonly process: ProcessRef; readonly program: string }>();

  constructor(processes: Pick<Processes, 'executable'>) {
    this.#processes = processes;
  }

  /** To be called before the OCI start. */
  begin(id: ContainerId, process: ProcessRef): void {
    const program = this.#processes.executable(process);
    if (program !== undefined) this.#before.set(id, { process, program });
  }

  forget(id: ContainerId): void {
    this.#before.delete(id);
  }

  /** Resolves when the user's program is executed, or has ended: at once where an earlier daemon started it. */
  async passed(id: ContainerId): Promise<void> {
    const before = this.#before.get(id);
    if (!before) return;
    const until = performance.now() + LIMIT_MS;
    while (this.#processes.executable(before.process) === before.program && performance.now() < until)
      await sleep(POLL_MS);
    this.forget(id);
  }
}
