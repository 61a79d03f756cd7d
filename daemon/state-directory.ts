import type { Kernel } from '#linux/ports/kernel.ts';
import type { DaemonLog } from '#telemetry/log.ts';

/** Types of file systems (statfs(2)). */
const TMPFS = 0x01021994;
const RAMFS = 0x858458f6;

/** Warns where the state directory is on a disk: its files are written on the main thread. */
export async function checkStateDirectory(state: string, kernel: Kernel, log: DaemonLog): Promise<void> {
  const { type } = await kernel.files.statfs(state);
  if (type !== TMPFS && type !== RAMFS)
    log.warn({ state }, 'state is not on a tmpfs: calls wait for its disk');
}
