/**
 * Addresses that nobody uses and nobody would release. The files of host-local and crisp's records may be on two file systems, and
 * neither host-local nor its plugin syncs: a power cut can bring back the file of an address that was released with its pod, or keep
 * that of a pod whose record never reached the disk. Once the node is booted anew, what was assigned before and belongs to no pod that
 * crisp knows is free; so is what another runtime left there, whose pods have ended with the boot.
 */
import { readdir, readFile } from 'node:fs/promises';
import { uptime } from 'node:os';
import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { addressesBefore, freeAddresses, type UsedAddress } from '../network/bridge/host-local.ts';
import { hostLocalDirectories } from '../network/cni/host-local-directories.ts';

const STAGE = 'addresses of before the boot';

/** To be called after the recovery, which releases those of the pods that crisp knows. Never throws: a failure is logged. */
export async function freeStaleAddresses(context: Context, op: Operation): Promise<void> {
  try {
    await op.deadline(STAGE, context.deadlines.files, (signal) => free(context, op, signal));
  } catch (error) {
    op.log.warn({ error: describeError(error) }, 'addresses that nobody uses are not looked for');
  }
}

async function free({ networks, sandboxes }: Context, op: Operation, signal: AbortSignal): Promise<void> {
  const config = await networks.current().catch(() => undefined);
  if (!config) return; // said by NetworkReady
  const booted = Date.now() - uptime() * 1000;
  const isStale = ({ id }: UsedAddress): boolean => sandboxes.get(id as SandboxId) === undefined;
  for (const directory of hostLocalDirectories(config)) {
    const stale = (await addressesBefore(directory, booted, signal)).filter(isStale);
    if (stale.length === 0) continue;
    // Of another runtime: the clock may have been set after its pod had begun.
    const living = await idsInUse();
    const freed = stale.filter(({ id }) => !living.has(id));
    await freeAddresses(directory, freed, signal);
    for (const { address, id } of freed)
      op.log.info(
        { directory, address, owner: id },
        'released an address of before the boot that nobody uses',
      );
  }
}

/**
 * The ids of pods of other runtimes: in the cgroups of processes (pause processes), or, as CRI-O's pods have none by default, in the
 * paths of mounts (their /dev/shm).
 */
async function idsInUse(): Promise<Set<string>> {
  const ids = new Set((await readFile('/proc/self/mountinfo', 'latin1')).match(/[0-9a-f]{64}/g));
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const groups = await readFile(join('/proc', pid, 'cgroup'), 'latin1').catch(() => ''); // ended meanwhile
    for (const [id] of groups.matchAll(/[0-9a-f]{64}/g)) ids.add(id);
  }
  return ids;
}
