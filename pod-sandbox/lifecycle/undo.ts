/**
 * The undo of each effect: one table for the rollback of a failed run, for stop and for recovery. Each undo is
 * idempotent and has a deadline; after a reboot most have nothing to do.
 */
import { describeError, hasCode } from '#core/errors.ts';
import { type Operation, withDeadline } from '#core/operation.ts';
import { type UndoOutcome, type UndoTable, undoAll } from '#core/undo.ts';
import type { ProcessRef } from '#linux/ports/kernel.ts';
import type { Context } from '../context.ts';
import { runInOrder } from '../network/cni/parallel.ts';
import type { SandboxIntent, SandboxRecord } from '../sandbox.ts';

const SIGKILL = 9;
/** statfs(2) of a pinned namespace (linux/magic.h). */
const NSFS_MAGIC = 0x6e736673;

export type UndoContext = Pick<Context, 'kernel' | 'cgroups' | 'cni' | 'deadlines'>;

function undoTable(context: UndoContext, record: SandboxRecord): UndoTable<SandboxIntent> {
  const { kernel, cgroups, cni, deadlines } = context;
  const within = (what: string, op: Operation, act: (signal: AbortSignal) => Promise<void>): Promise<void> =>
    withDeadline(`${op.name}: ${what}`, deadlines.undo, op.signal, act);
  return {
    directory: ({ path }, op) => within(`remove ${path}`, op, () => kernel.files.removeTree(path)),
    shm: ({ path }, op) => within(`unmount ${path}`, op, () => kernel.mounts.unmount(path)),
    pins: ({ path }, op) => within(`unpin ${path}`, op, () => kernel.namespaces.unpin(path)),
    cgroup: ({ cgroup }, op) =>
      within(`remove cgroup ${cgroup.monitor}`, op, (signal) => cgroups.remove(cgroup, signal)),
    process: ({ process }, op) =>
      within(`end pause process ${process.pid}`, op, (signal) => endProcess(context, process, signal)),
    network: async (_intent, op) => {
      const { id, attachments } = record;
      const netns = await livingNetns(context, record);
      await runInOrder(
        attachments.toReversed().map((attachment) => () => cni.detach(id, attachment, netns, op)),
      );
    },
  };
}

/** Undone beside the network. Plugins need the pinned namespaces, and the directory contains the pins and files. */
const BESIDE_NETWORK: ReadonlySet<SandboxIntent['kind']> = new Set(['process', 'cgroup', 'shm']);

/**
 * Undoes the intents in reverse order, those that the network does not need beside it. While the network is to be
 * tried again its namespace stays pinned: `left` then holds the pins and the directory too. See `undoAll`.
 */
export async function undoSandbox(
  context: UndoContext,
  record: SandboxRecord,
  intents: readonly SandboxIntent[],
  op: Operation,
): Promise<UndoOutcome<SandboxIntent>> {
  const table = undoTable(context, record);
  const undo = (of: (kind: SandboxIntent['kind']) => boolean) =>
    undoAll(
      intents.filter(({ kind }) => of(kind)),
      table,
      op,
    );
  const [network, beside] = await Promise.all([
    undo((kind) => kind === 'network'),
    undo((kind) => BESIDE_NETWORK.has(kind)),
  ]);
  const rest = (kind: SandboxIntent['kind']) => kind !== 'network' && !BESIDE_NETWORK.has(kind);
  const last =
    network.left.length > 0
      ? { left: intents.filter(({ kind }) => rest(kind)), errors: [] }
      : await undo(rest);
  const outcomes = [network, beside, last];
  const left = new Set(outcomes.flatMap((outcome) => outcome.left));
  return {
    left: intents.filter((intent) => left.has(intent)),
    errors: outcomes.flatMap((outcome) => outcome.errors),
  };
}

async function endProcess({ kernel }: UndoContext, process: ProcessRef, signal: AbortSignal): Promise<void> {
  if (!kernel.processes.signal(process, SIGKILL)) return;
  await kernel.namespaces.watch(process, signal);
}

/** The pinned network namespace, or an empty text where it is gone: plugins then free what is outside of it. */
export async function livingNetns(
  { kernel }: Pick<Context, 'kernel'>,
  record: SandboxRecord,
): Promise<string> {
  const { net } = record.pins;
  if (net === undefined || record.bootId !== kernel.processes.bootId) return '';
  return (await isPinned(kernel, net)) ? net : '';
}

/** Whether a namespace is still mounted on its pin. */
export async function isPinned({ files }: Pick<Context['kernel'], 'files'>, pin: string): Promise<boolean> {
  try {
    return (await files.statfs(pin)).type === NSFS_MAGIC;
  } catch (error) {
    if (hasCode(error, 'NotFound')) return false;
    throw error;
  }
}

/** The first failure of an undo, as the reason why a sandbox cannot be ended yet. */
export const undoFailure = (errors: readonly { intent: SandboxIntent; error: unknown }[]): string =>
  errors.map(({ intent, error }) => `${intent.kind}: ${describeError(error)}`).join('; ');
