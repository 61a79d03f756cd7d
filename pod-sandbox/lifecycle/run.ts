/**
 * RunPodSandbox: creates a sandbox.
 *
 *   record (all intents) ─┬─ namespaces: pause process, held ─┬─ recorded ─┬─ moved into the cgroup ─ released ─┬─ ready
 *                         ├─ files: hostname, resolv.conf, shm┤            └─ network ──────────────────────────┘
 *                         └─ cgroup: made                     ┘
 *
 * Between network and ready the plugins (NRI) are asked.
 * After a failure or a cancel of the client all is undone by the table that stop and recovery use.
 */
import { CrispError, codeOf, describeError, hintOf } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { HeldPause } from '#linux/ports/kernel.ts';
import type { Context } from '../context.ts';
import { pauseRequest } from '../namespaces/namespaces.ts';
import type { Attachment } from '../network/cni/attachment.ts';
import { AddTrace } from '../network/cni/failed-add.ts';
import { inPreferredOrder } from '../network/cni/ip-preference.ts';
import { type SandboxRecord, shortId, toNotReady, toReady, withIntents, withProcess } from '../sandbox.ts';
import { makeDirectories, makeFiles } from './files.ts';
import type { Plan } from './plan.ts';
import { askToRun, tell } from './plugin-events.ts';
import { RunningSteps } from './running-steps.ts';
import { undoOrLeak } from './undo-or-leak.ts';

/** What has been created so far, also by a step whose deadline has passed. */
interface Progress {
  readonly steps: RunningSteps;
  recorded: boolean;
  held: HeldPause | undefined;
  released: boolean;
  networkStarted: boolean;
  attachments: readonly Attachment[];
  /** Plugins have been told of the pod. */
  asked: boolean;
}

/** Resolves with the ready sandbox's record. Throws the failed step's error; what could not be undone stays listed. */
export async function createSandbox(context: Context, given: Plan, op: Operation): Promise<SandboxRecord> {
  const { record } = given;
  const progress: Progress = {
    steps: new RunningSteps(),
    recorded: false,
    held: undefined,
    released: false,
    networkStarted: false,
    attachments: record.attachments,
    asked: false,
  };
  try {
    await writeRecord(context, record, progress, op);
    await createParts(context, given, progress, op);
    const placed = await recordPause(context, record, progress, op);
    // Moving a process into cgroups of version 1 takes the kernel as long as a plugin runs: both at once.
    await runTogether(op, [
      (both) => placePause(context, placed, progress, both),
      (both) => attach(context, placed, progress, both),
    ]);
    const made = { ...placed, attachments: progress.attachments };
    progress.asked = context.plugins.listening;
    if (progress.asked) await askToRun(context, made, op);
    return await commitReady(context, placed, progress, op);
  } catch (error) {
    await rollback(context, record, progress, error, op);
    throw asCrispError(error, record);
  }
}

function writeRecord(
  { sandboxes, deadlines }: Context,
  record: SandboxRecord,
  progress: Progress,
  op: Operation,
): Promise<void> {
  return progress.steps.run(op, 'record', deadlines.record, async () => {
    await sandboxes.create(record);
    progress.recorded = true;
  });
}

async function createParts(
  context: Context,
  { record, paths, shmBytes = context.shmBytes }: Plan,
  progress: Progress,
  op: Operation,
): Promise<void> {
  const { kernel, cgroups, deadlines, sandboxes } = context;
  const { steps } = progress;
  await steps.run(op, 'directories', deadlines.files, () => makeDirectories(paths));
  const { oomScoreAdj, defaultSysctls, resolvConf } = context;
  const enter = cgroups.joinFiles(record.cgroup);
  const label = context.labels.applied(record.config, record.selinux);
  const place = {
    pins: paths.pins,
    hostname: record.hostname,
    oomScoreAdj,
    defaultSysctls,
    enter,
    label: label.process,
  };
  const parts = [
    steps.run(op, 'namespaces', deadlines.namespaces, async (signal) => {
      progress.held = await kernel.namespaces.hold(pauseRequest(record.config, place), signal);
    }),
    steps.run(op, 'files', deadlines.files, () =>
      makeFiles(record, kernel, { shmBytes, resolvConf, label: label.files }),
    ),
    steps.run(op, 'cgroup', deadlines.cgroup, () => cgroups.create(record.cgroup, record.config.linux)),
    // The address of a pod must be released even after a power cut. And on a full disk no pod is created.
    steps.run(op, 'record on disk', deadlines.record, () =>
      sandboxes.persist(record.id, { durable: record.attachments.length > 0 }),
    ),
  ];
  const outcomes = await Promise.allSettled(parts);
  const failure = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failure) throw failure.reason;
}

/** The pins are recorded before the network is made: its undo needs the namespace. */
async function recordPause(
  { sandboxes, deadlines }: Context,
  record: SandboxRecord,
  { steps, held }: Progress,
  op: Operation,
): Promise<SandboxRecord> {
  if (!held) throw new CrispError('Internal', `sandbox ${shortId(record.id)} has no pause process`);
  const placed = withProcess(record, held.process, held.pins);
  await steps.run(op, 'record process', deadlines.record, () => sandboxes.commit(placed, { durable: false }));
  return placed;
}

/** The pause process is released when it is recorded; it joins its cgroup by itself, unless it has to be moved there. */
async function placePause(
  { cgroups, deadlines }: Context,
  { cgroup, config }: SandboxRecord,
  progress: Progress,
  op: Operation,
): Promise<void> {
  const { steps, held } = progress;
  if (!held) return;
  if (!held.joinsCgroups) {
    await steps.run(op, 'join cgroup', deadlines.cgroup, (signal) =>
      cgroups.join(cgroup, config.linux, held.process.pid, signal),
    );
  }
  await steps.run(op, 'release', deadlines.namespaces, () => {
    progress.released = true;
    return held.release();
  });
}

/** All at once. The first failure aborts the others and is thrown when they have ended. */
async function runTogether(
  op: Operation,
  acts: readonly ((op: Operation) => Promise<void>)[],
): Promise<void> {
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

/** One network after another: a plugin may rely on the interfaces before its own. */
async function attach(
  { cni, ipPreference }: Context,
  record: SandboxRecord,
  progress: Progress,
  op: Operation,
): Promise<void> {
  const { attachments, pins } = record;
  if (attachments.length === 0) return;
  if (pins.net === undefined)
    throw new CrispError('Internal', `sandbox ${shortId(record.id)} has no network namespace`);
  const { net } = pins;
  progress.networkStarted = true;
  for (const [index, attachment] of attachments.entries()) {
    const trace = new AddTrace();
    try {
      const made = await op.stage('network', () => cni.attach(record.id, attachment, net, op, trace));
      const ips = inPreferredOrder(made.ips, ipPreference);
      progress.attachments = progress.attachments.with(index, { ...made, ips });
    } catch (error) {
      // Those behind it were not begun.
      const failed = { ...attachment, failedAdd: trace.progress };
      progress.attachments = [...progress.attachments.slice(0, index), failed];
      throw error;
    }
  }
}

async function commitReady(
  context: Context,
  placed: SandboxRecord,
  progress: Progress,
  op: Operation,
): Promise<SandboxRecord> {
  const { sandboxes, deadlines, watches } = context;
  const ready = toReady(placed, progress.attachments);
  const durable = ready.attachments.length > 0;
  await progress.steps.run(op, 'ready', deadlines.record, async () => {
    op.checkpoint();
    await sandboxes.commit(ready, { durable });
  });
  if (ready.process) watches.start(ready.id, ready.process);
  return ready;
}

async function rollback(
  context: Context,
  first: SandboxRecord,
  progress: Progress,
  cause: unknown,
  op: Operation,
): Promise<void> {
  const { sandboxes, deadlines } = context;
  const undoing = op.detached('rollback');
  const allEnded = await progress.steps.allEnded(deadlines.undo);
  if (progress.held && !progress.released) await progress.held.abandon().catch(() => {});
  const latest = { ...(sandboxes.get(first.id) ?? first), attachments: progress.attachments };
  const intents = latest.intents.filter(({ kind }) => kind !== 'network' || progress.networkStarted);
  // Plugins may have allotted something to it.
  if (progress.asked) tell(context, 'stopped', latest);
  try {
    if (progress.recorded && allEnded) {
      const { record, failure } = await undoOrLeak(context, latest, intents, undoing);
      if (failure) return await keepNotReady(context, record, cause, describeError(failure));
    } else if (progress.recorded) {
      return await keepNotReady(context, withIntents(latest, intents), cause, 'a step did not end in time');
    }
    await sandboxes.remove(first.id);
    if (progress.asked) tell(context, 'removed', latest);
  } catch (error) {
    if (sandboxes.get(first.id))
      await keepNotReady(context, withIntents(latest, intents), cause, describeError(error));
    op.log.error({ sandbox: first.id, error: describeError(error) }, 'a failed sandbox could not be removed');
  }
}

/** Listed as not ready, so that the kubelet can remove it. */
async function keepNotReady(
  { sandboxes, log }: Context,
  record: SandboxRecord,
  cause: unknown,
  left: string,
): Promise<void> {
  log.warn(
    { sandbox: record.id, left },
    'a failed sandbox is not undone in full and stays listed as not ready',
  );
  await sandboxes.commitNotReady(
    toNotReady(record, 'failed', `${describeError(cause)}; not undone: ${left}`),
  );
}

/** Adds a code and the sandbox's id to errors of the file system. */
function asCrispError(error: unknown, { id }: SandboxRecord): CrispError {
  if (error instanceof CrispError) return error;
  const message = `sandbox ${shortId(id)} could not be made: ${describeError(error)}`;
  return new CrispError(codeOf(error), message, { cause: error, hint: hintOf(error) });
}
