/**
 * Addresses that nobody uses and nobody would release. The files of host-local and crisp's records may be on two file systems, and
 * neither host-local nor its plugin syncs: a power cut can bring back the file of an address that was released with its pod, or keep
 * that of a pod whose record never reached the disk. Once the node is booted anew, what was assigned before and belongs to no pod that
 * crisp knows is free; so is what another runtime left there, whose pods have ended with the boot.
 *
 * What was assigned before is what crisp has found at its first start of the boot (boot-addresses.ts), before it made a pod that it has
 * no record of: clocks may be set, and the files' times with them. Of what another runtime has assigned in this boot before that start,
 * all is left alone that lives. What is missed is found by network-collector.ts.
 */
import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { freeAddresses, type UsedAddress, usedAddresses } from '../network/bridge/host-local.ts';
import { hostLocalDirectories } from '../network/cni/host-local-directories.ts';
import { BootAddresses } from './boot-addresses.ts';
import { idsInUse } from './foreign-pods.ts';
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
    sandboxes.get(id as SandboxId) === undefined && leaks.get(id)?.record.bootId !== bootId;
  for (const directory of (await networksInUse(context)).flatMap(hostLocalDirectories)) {
    const stale = atBoot.of(directory, await usedAddresses(directory, signal)).filter(isOfNoPod);
    if (stale.length === 0) continue;
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
