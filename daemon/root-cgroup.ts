import type { Config } from '#config/index.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import type { Services } from './services.ts';

/** Limit of the removal, in ms. */
const REMOVE_MS = 1000;

/**
 * Under the cgroupfs driver the parent of crisp's pod cgroups is crisp's own: it is removed with the last pod, unless
 * another daemon has cgroups below it.
 */
export async function removeRootCgroup(
  config: Config,
  kernel: Kernel,
  { pods, driver }: Services,
): Promise<void> {
  if (driver === 'systemd') return;
  const prefix = config.cgroup.parent;
  if (pods.list().length > 0 || kernel.cgroups.processes(prefix).length > 0) return;
  await kernel.cgroups.remove(prefix, AbortSignal.timeout(REMOVE_MS)).catch(() => {});
}
