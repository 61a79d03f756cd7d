/**
 * Addresses that nobody uses and nobody would release. The files of host-local and crisp's records may be on two file systems, and
 * neither host-local nor its plugin syncs: a power cut can bring back the file of an address that was released with its pod, or keep
 * that of a pod whose record never reached the disk. Once the node is booted anew, what was assigned before and belongs to no pod that
 * crisp knows is free; so is what another runtime left there, whose pods have ended with the boot.
 *
 * What was assigned before is what crisp has found at its first start of the boot (boot-addresses.ts), before it made a pod that it has
 * no record of: clocks may be set, and the files' times with them. Of what another runtime has assigned in this boot before that start,
 * all is left alone that lives, and also what may belong to a pod that is just being made, of which between two plugins, and until its
 * pause process runs, nothing shows that it lives: where libcni's files name a namespace that is there, and where the address's own file
 * is of this boot by its time. What is missed by that is found by network-collector.ts.
 */
import { uptime } from 'node:os';
import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import { isFullId, type SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { freeAddresses, type UsedAddress, usedAddresses } from '../network/bridge/host-local.ts';
import { hostLocalDirectories } from '../network/cni/host-local-directories.ts';
import { BootAddresses } from './boot-addresses.ts';
import { idsInUse, idsWithNamespace } from './foreign-pods.ts';
import { networksInUse } from './networks-in-use.ts';

const STAGE = 'addresses of before the boot';

/** To be called after the recovery, which releases those of the pods that crisp knows. Never throws: a failure is logged. */
export async function freeStaleAddresses(context: Context, op: Operation): Promise<void> {
  try {
    await op.deadline(STAGE, context.deadlines.files, (signal) => free(context, op, signal));
  } catch (error) {
    op.log.warn({ error: describeError(error) }, 'addresses that nobody uses are not looked for');
  }
}

async function free(context: Context, op: Operation, signal: AbortSignal): Promise<void> {
  const { sandboxes, leaks, kernel, state } = context;
  const { bootId } = kernel.processes;
  const atBoot = new BootAddresses(join(state, 'addresses'), bootId);
  const isOfNoPod = ({ id }: UsedAddress): boolean =>
    isFullId(id) && sandboxes.get(id as SandboxId) === undefined && leaks.get(id)?.record.bootId !== bootId;
  const networks = await networksInUse(context);
  const found = new Map<string, { readonly name: string; readonly stale: readonly UsedAddress[] }>();
  for (const network of networks)
    for (const directory of hostLocalDirectories(network)) {
      if (found.has(directory)) continue;
      const present = await usedAddresses(directory, signal);
      const stale = atBoot.of(directory, present).filter(isOfNoPod);
      if (stale.length > 0) found.set(directory, { name: network.name, stale });
    }
  if (found.size === 0) return;
  const living = await idsInUse(signal);
  for (const [directory, { name, stale }] of found) {
    const others = await idsWithNamespace(name);
    const unused = stale.filter(({ id }) => !living.has(id) && !others.has(id));
    for (const { address, id } of await freeAddresses(directory, unused, isOfEarlierBoot(), signal))
      op.log.info(
        { directory, address, owner: id },
        'released an address of before the boot that nobody uses',
      );
  }
}

/** One that the clock cannot have shown in this boot tells nothing: it was set back since. */
function isOfEarlierBoot(): (written: number) => boolean {
  const now = Date.now();
  const booted = now - uptime() * 1000;
  return (written) => written < booted || written > now;
}
