/** Variables, arguments, limits and priorities of the container's process. */
import { MAX_OOM_SCORE_ADJ } from '#core/model/resources.ts';
import { MAX_RLIMIT, rlimitNames } from '#core/model/rlimits.ts';
import { processFeaturesSince } from '../oci-runtime/process-features.ts';
import type { OciScheduler } from '../spec/oci.ts';
import { type Adjusting, refusal } from './adjusting.ts';

const nameOf = (entry: string): string => entry.slice(0, Math.max(entry.indexOf('='), 0));

export function adjustEnv(adjusting: Adjusting): void {
  const { env } = adjusting.adjustment;
  if (!env) return;
  for (const [name, value] of Object.entries(env.set)) {
    if (name !== '' && !/[=\0]/.test(name) && !value.includes('\0')) continue;
    throw refusal(adjusting, ['env', name], 'is no variable', 'use a name without = and text without NUL');
  }
  const { process } = adjusting.spec;
  const changed = new Set([...Object.keys(env.set), ...env.removed]);
  process.env = [
    ...process.env.filter((entry) => !changed.has(nameOf(entry))),
    ...Object.entries(env.set).map(([name, value]) => `${name}=${value}`),
  ];
}

export function adjustArgs(adjusting: Adjusting): void {
  const { args } = adjusting.adjustment;
  if (!args) return;
  if (!args[0]) throw refusal(adjusting, ['args'], 'name no program', 'give the program and its arguments');
  if (args.some((text) => text.includes('\0')))
    throw refusal(adjusting, ['args'], 'hold a NUL', 'give text that a process can have');
  adjusting.spec.process.args = [...args];
}

export function adjustRlimits(adjusting: Adjusting): void {
  const { rlimits = [] } = adjusting.adjustment;
  if (rlimits.length === 0) return;
  for (const { type, soft, hard } of rlimits) {
    if (!rlimitNames.has(type))
      throw refusal(
        adjusting,
        ['rlimits', type],
        'is no limit',
        'use RLIMIT_NOFILE or another of getrlimit(2)',
      );
    if (soft < 0n || soft > hard || hard > MAX_RLIMIT) {
      const why = `cannot be ${soft} with the hard limit ${hard}`;
      throw refusal(adjusting, ['rlimits', type], why, 'make soft at most hard, both from 0 to 2^64-1');
    }
  }
  const { process } = adjusting.spec;
  const limits = adjusting.context.host.clampRlimits(rlimits);
  const others = (process.rlimits ?? []).filter(({ type }) => !limits.some((limit) => limit.type === type));
  process.rlimits = [...others, ...limits.map(({ type, soft, hard }) => ({ type, soft, hard }))];
}

/** No lower than the daemon may set, as a requested one. */
export function adjustOomScore(adjusting: Adjusting): void {
  const { oomScoreAdj } = adjusting.adjustment;
  if (oomScoreAdj === undefined) return;
  if (!Number.isInteger(oomScoreAdj) || oomScoreAdj < -MAX_OOM_SCORE_ADJ || oomScoreAdj > MAX_OOM_SCORE_ADJ) {
    const hint = `use ${-MAX_OOM_SCORE_ADJ} to ${MAX_OOM_SCORE_ADJ}`;
    throw refusal(adjusting, ['oomScoreAdj'], `${oomScoreAdj} is out of range`, hint);
  }
  const score = Math.max(oomScoreAdj, adjusting.context.host.minOomScoreAdj);
  adjusting.spec.process.oomScoreAdj = score;
  const { record } = adjusting;
  adjusting.record = { ...record, resources: { ...record.resources, oomScoreAdj: BigInt(score) } };
}

/** ioprio_set(2) */
const IO_CLASSES = ['IOPRIO_CLASS_RT', 'IOPRIO_CLASS_BE', 'IOPRIO_CLASS_IDLE'];
const LOWEST_IO_PRIORITY = 7;

export async function adjustIoPriority(adjusting: Adjusting): Promise<void> {
  const { ioPriority } = adjusting.adjustment;
  if (!ioPriority) return;
  const { process } = adjusting.spec;
  if (ioPriority.class === 'IOPRIO_CLASS_NONE') {
    delete process.ioPriority;
    return;
  }
  const { class: name, priority } = ioPriority;
  if (!IO_CLASSES.includes(name))
    throw refusal(
      adjusting,
      ['ioPriority'],
      `has no class ${JSON.stringify(name)}`,
      `use ${IO_CLASSES.join(', ')}`,
    );
  if (!Number.isInteger(priority) || priority < 0 || priority > LOWEST_IO_PRIORITY)
    throw refusal(adjusting, ['ioPriority'], `${priority} is out of range`, `use 0 to ${LOWEST_IO_PRIORITY}`);
  await requireFeature(adjusting, 'ioPriority');
  process.ioPriority = { class: name, priority };
}

/** sched(7) */
const POLICIES = ['SCHED_OTHER', 'SCHED_FIFO', 'SCHED_RR', 'SCHED_BATCH', 'SCHED_IDLE', 'SCHED_DEADLINE'];
/** Those of sched_setattr(2) that both runtimes know. */
const FLAGS = [
  'SCHED_FLAG_RESET_ON_FORK',
  'SCHED_FLAG_RECLAIM',
  'SCHED_FLAG_DL_OVERRUN',
  'SCHED_FLAG_KEEP_POLICY',
  'SCHED_FLAG_KEEP_PARAMS',
  'SCHED_FLAG_UTIL_CLAMP_MIN',
  'SCHED_FLAG_UTIL_CLAMP_MAX',
];

export async function adjustScheduler(adjusting: Adjusting): Promise<void> {
  const { scheduler } = adjusting.adjustment;
  if (!scheduler) return;
  if (scheduler.policy === 'SCHED_NONE') {
    delete adjusting.spec.process.scheduler;
    return;
  }
  const refuse = (why: string, hint: string) => refusal(adjusting, ['scheduler'], why, hint);
  const { policy, nice, priority, flags, runtime, deadline, period } = scheduler;
  if (!POLICIES.includes(policy))
    throw refuse(`has no policy ${JSON.stringify(policy)}`, `use one of ${POLICIES.join(', ')}`);
  const flag = flags.find((name) => !FLAGS.includes(name));
  if (flag !== undefined)
    throw refuse(`has no flag ${JSON.stringify(flag)}`, `use those of sched_setattr(2)`);
  if (!Number.isInteger(nice) || nice < -20 || nice > 19)
    throw refuse(`has the nice value ${nice}`, 'use -20 to 19');
  const isRealtime = policy === 'SCHED_FIFO' || policy === 'SCHED_RR';
  if (isRealtime ? priority < 1 || priority > 99 : priority !== 0)
    throw refuse(
      `has the priority ${priority} with ${policy}`,
      'use 1 to 99 with SCHED_FIFO and SCHED_RR, else 0',
    );
  const times = [runtime, deadline, period];
  if (policy !== 'SCHED_DEADLINE' && times.some((time) => time !== 0n))
    throw refuse(`has times with ${policy}`, 'give runtime, deadline and period with SCHED_DEADLINE alone');
  if (
    policy === 'SCHED_DEADLINE' &&
    (runtime < 1024n || deadline < runtime || (period !== 0n && period < deadline))
  )
    throw refuse(
      'has times that the kernel refuses',
      'make 1024 <= runtime <= deadline <= period, in nanoseconds',
    );
  await requireFeature(adjusting, 'scheduler');
  const written: OciScheduler = { policy, nice, ...(isRealtime ? { priority } : {}) };
  if (flags.length > 0) written.flags = [...flags];
  if (policy === 'SCHED_DEADLINE')
    Object.assign(written, { runtime, deadline, ...(period === 0n ? {} : { period }) });
  adjusting.spec.process.scheduler = written;
}

/** Throws where the OCI runtime would ignore the field. */
export async function requireFeature(
  adjusting: Adjusting,
  name: keyof typeof processFeaturesSince,
): Promise<void> {
  const features = await adjusting.oci.features();
  if (features[name]) return;
  const why = `is not applied by runtime handler ${adjusting.oci.handler} (${features.version})`;
  throw refusal(adjusting, [name], why, `use ${processFeaturesSince[name]}, or have the plugin leave it out`);
}
