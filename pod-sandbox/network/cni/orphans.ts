/**
 * Plugins outlive a daemon that is killed. An ADD that is still running would attach what recovery's DEL has just
 * detached, so recovery waits until it has exited.
 */
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Processes, ProcessRef } from '#linux/ports/kernel.ts';

const SIGKILL = 9;
const POLL_MS = 50;

export interface Graces {
  /** Milliseconds until running plugins are killed. */
  readonly finish: number;
  /** Milliseconds until killed plugins must be gone. */
  readonly kill: number;
}

/** Resolves when no plugin of the sandbox runs any more. Throws DeadlineExceeded where one cannot be ended. */
export async function waitForOrphans(
  processes: Processes,
  id: SandboxId,
  { finish, kill }: Graces,
  op: Operation,
): Promise<void> {
  const started = performance.now();
  for (;;) {
    const orphans = await pluginsOf(processes, id);
    if (orphans.length === 0) return;
    const waited = performance.now() - started;
    if (waited > finish + kill) {
      const pids = orphans.map(({ pid }) => pid).join(', ');
      throw new CrispError('DeadlineExceeded', `CNI plugins of an earlier daemon do not end: pid ${pids}`, {
        hint: 'end these processes; the removal of the sandbox then succeeds',
      });
    }
    if (waited > finish) {
      op.log.warn(
        { sandbox: id, pids: orphans.map(({ pid }) => pid) },
        'killing CNI plugins of an earlier daemon',
      );
      for (const orphan of orphans) processes.signal(orphan, SIGKILL);
    }
    await sleep(POLL_MS);
  }
}

/** Plugins and their children are recognized by their environment. */
async function pluginsOf(processes: Processes, id: SandboxId): Promise<ProcessRef[]> {
  const found: ProcessRef[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const process = processes.reference(Number(name));
    // Ended meanwhile, or a kernel thread: it has no environment.
    const environment = await readFile(`/proc/${name}/environ`, 'latin1').catch(() => '');
    if (process && environment.split('\0').includes(`CNI_CONTAINERID=${id}`)) found.push(process);
  }
  return found;
}
