/**
 * Makes a sandbox.
 *
 *   record (all intents) ─┬─ namespaces: pause process, held ─┬─ recorded ─┬─ moved into the cgroup ─ released ─┬─ ready
 *                         ├─ files: hostname, resolv.conf, shm┤            └─ network ──────────────────────────┘
 *                         └─ cgroup: made                     ┘
 *
 * Whatever fails, or whenever the client goes, all is undone by the table that stop and recovery use.
 */
import { CrispError, describeError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { HeldPause } from '#linux/ports/kernel.ts';
import type { Context } from '../context.ts';
import { pauseRequest } from '../namespaces/namespaces.ts';
import type { Attachment } from '../network/cni/attachment.ts';
import { AddTrace } from '../network/cni/failed-add.ts';
import { type SandboxRecord, shortId, toNotReady, toReady, withIntents, withProcess } from '../sandbox.ts';
import { Effects } from './effects.ts';
import { makeDirectories, makeFiles } from './files.ts';
import { undoOrGiveUp } from './give-up.ts';
import type { Plan } from './plan.ts';

/** What has been made so far, also by a step whose deadline has passed. */
interface Making {
  readonly effects: Effects;
  recorded: boolean;
  held: HeldPause | undefined;
  released: boolean;
  networkBegun: boolean;
  attachment: Attachment | undefined;
}

/** Resolves with the ready sandbox's record. Throws the failed step's error; what could not be undone stays listed. */
export async function makeSandbox(
  context: Context,
  { record, paths }: Plan,
  op: Operation,
): Promise<SandboxRecord> {
  const making: Making = {
    effects: new Effects(),
    recorded: false,
    held: undefined,
    released: false,
    networkBegun: false,
    attachment: record.attachment,
  };
  try {
    await writeRecord(context, record, making, op);
    await makeParts(context, { record, paths }, making, op);
    const placed = await recordPause(context, record, making, op);
    // Moving a process into cgroups of version 1 waits for the kernel as long as a plugin runs: both at once.
    await together(op, [
      (both) => placePause(context, placed, making, both),
      (both) => attach(context, placed, making, both),
    ]);
    return await becomeReady(context, placed, making, op);
  } catch (error) {
    await rollback(context, record, making, error, op);
    throw asCrispError(error, record);
  }
}

function writeRecord(
  { sandboxes, deadlines }: Context,
  record: SandboxRecord,
  making: Making,
  op: Operation,
): Promise<void> {
  return making.effects.run(op, 'record', deadlines.record, async () => {
    await sandboxes.create(record);
    making.recorded = true;
  });
}

async function makeParts(
  context: Context,
  { record, paths }: Plan,
  making: Making,
  op: Operation,
): Promise<void> {
  const { kernel, cgroups, deadlines, sandboxes } = context;
  const { effects } = making;
  await effects.run(op, 'directories', deadlines.files, () => makeDirectories(paths));
  const { oomScoreAdj, defaultSysctls } = context;
  const enter = cgroups.joinFiles(record.cgroup);
  const place = { pins: paths.pins, hostname: record.hostname, oomScoreAdj, defaultSysctls, enter };
  const parts = [
    effects.run(op, 'namespaces', deadlines.namespaces, async (signal) => {
      making.held = await kernel.namespaces.hold(pauseRequest(record.config, place), signal);
    }),
    effects.run(op, 'files', deadlines.files, () => makeFiles(record, kernel.mounts, context)),
    effects.run(op, 'cgroup', deadlines.cgroup, () => cgroups.create(record.cgroup, record.config.linux)),
    // An address in a network must be given back even after a power cut. And a full disk takes no pods.
    effects.run(op, 'record on disk', deadlines.record, () =>
      sandboxes.persist(record.id, { durable: record.attachment !== undefined }),
    ),
  ];
  const outcomes = await Promise.allSettled(parts);
  const failure = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failure) throw failure.reason;
}

/** The pins are written down before the network is made: its undo needs the namespace. */
async function recordPause(
  { sandboxes, deadlines }: Context,
  record: SandboxRecord,
  { effects, held }: Making,
  op: Operation,
): Promise<SandboxRecord> {
  if (!held) throw new CrispError('Internal', `sandbox ${shortId(record.id)} has no pause process`);
  const placed = withProcess(record, held.process, held.pins);
  await effects.run(op, 'record process', deadlines.record, () =>
    sandboxes.commit(placed, { durable: false }),
  );
  return placed;
}

/** The pause process goes on when it is recorded; it enters its cgroup first, where it is not to be moved there. */
async function placePause(
  { cgroups, deadlines }: Context,
  { cgroup, config }: SandboxRecord,
  making: Making,
  op: Operation,
): Promise<void> {
  const { effects, held } = making;
  if (!held) return;
  if (!held.enters) {
    await effects.run(op, 'join cgroup', deadlines.cgroup, (signal) =>
      cgroups.join(cgroup, config.linux, held.process.pid, signal),
    );
  }
  await effects.run(op, 'release', deadlines.namespaces, () => {
    making.released = true;
    return held.release();
  });
}

/** All at once. The first failure ends the others and is thrown when they have ended. */
async function together(op: Operation, acts: readonly ((op: Operation) => Promise<void>)[]): Promise<void> {
  const ending = new AbortController();
  const same = op.under(AbortSignal.any([op.signal, ending.signal]));
  const failures: unknown[] = [];
  const end = (error: unknown) => {
    failures.push(error);
    ending.abort(error);
  };
  await Promise.all(acts.map((act) => act(same).catch(end)));
  if (failures.length > 0) throw failures[0];
}

async function attach({ cni }: Context, record: SandboxRecord, making: Making, op: Operation): Promise<void> {
  const { attachment, pins } = record;
  if (!attachment) return;
  if (pins.net === undefined)
    throw new CrispError('Internal', `sandbox ${shortId(record.id)} has no network namespace`);
  const { net } = pins;
  making.networkBegun = true;
  const trace = new AddTrace();
  try {
    making.attachment = await op.stage('network', () => cni.attach(record.id, attachment, net, op, trace));
  } catch (error) {
    making.attachment = { ...attachment, failedAdd: trace.progress };
    throw error;
  }
}

async function becomeReady(
  context: Context,
  placed: SandboxRecord,
  making: Making,
  op: Operation,
): Promise<SandboxRecord> {
  const { sandboxes, deadlines, watches } = context;
  const ready = toReady(placed, making.attachment);
  const durable = ready.attachment !== undefined;
  await making.effects.run(op, 'ready', deadlines.record, async () => {
    op.checkpoint();
    await sandboxes.commit(ready, { durable });
  });
  if (ready.process) watches.start(ready.id, ready.process);
  return ready;
}

async function rollback(
  context: Context,
  first: SandboxRecord,
  making: Making,
  cause: unknown,
  op: Operation,
): Promise<void> {
  const { sandboxes, deadlines } = context;
  const undoing = op.detached('rollback');
  const settled = await making.effects.settled(deadlines.undo);
  if (making.held && !making.released) await making.held.abandon().catch(() => {});
  const latest = { ...(sandboxes.get(first.id) ?? first), attachment: making.attachment };
  const intents = latest.intents.filter(({ kind }) => kind !== 'network' || making.networkBegun);
  try {
    if (making.recorded && settled) {
      const { record, failure } = await undoOrGiveUp(context, latest, intents, undoing);
      if (failure) return await keep(context, record, cause, describeError(failure));
    } else if (making.recorded) {
      return await keep(context, withIntents(latest, intents), cause, 'a step did not end in time');
    }
    await sandboxes.remove(first.id);
  } catch (error) {
    if (sandboxes.get(first.id))
      await keep(context, withIntents(latest, intents), cause, describeError(error));
    op.log.error({ sandbox: first.id, error: describeError(error) }, 'a failed sandbox could not be removed');
  }
}

/** Listed as not ready, so that whoever asked can remove it. */
async function keep(
  { sandboxes, log }: Context,
  record: SandboxRecord,
  cause: unknown,
  left: string,
): Promise<void> {
  log.warn(
    { sandbox: record.id, left },
    'a failed sandbox is not undone in full and stays listed as not ready',
  );
  await sandboxes.commitEnd(toNotReady(record, 'failed', `${describeError(cause)}; not undone: ${left}`));
}

/** Plain errors of the file system get a code and the sandbox's name. */
function asCrispError(error: unknown, { id }: SandboxRecord): CrispError {
  if (error instanceof CrispError) return error;
  const full =
    error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
  const message = `sandbox ${shortId(id)} could not be made: ${describeError(error)}`;
  return new CrispError(full ? 'ResourceExhausted' : 'Internal', message, { cause: error });
}
