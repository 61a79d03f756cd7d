/** What a plugin wants of the container's process. */
import { nri } from '#api/nri/index.ts';
import type { AdjustedScheduler } from '#core/model/adjustment.ts';
import { MAX_OOM_SCORE_ADJ } from '#core/model/resources.ts';
import { MAX_RLIMIT, rlimitNames } from '#core/model/rlimits.ts';
import type { Change } from '../fields.ts';
import { entryChanges, plainChanges, singleChange } from './entries.ts';
import type { Reader } from './reader.ts';

/** ioprio_set(2). */
const MAX_IO_PRIORITY = 7;
/** sched(7): niceness, priorities of the realtime policies. */
const NICE = { least: -20, most: 19 };
const REALTIME = { least: 1, most: 99 };

/** An empty first argument: what other plugins have set is replaced. */
export function argsChanges(reader: Reader, sent: readonly string[]): Change[] {
  if (sent.length === 0) return [];
  const marked = sent[0] === '';
  const args = reader.list('args', marked ? sent.slice(1) : sent);
  if (args.length === 0 || args[0] === '')
    reader.refuse('args', 'they name no program', 'send the program first');
  return singleChange(
    'args',
    args.map((arg) => reader.text('args', arg)),
    marked,
  );
}

export const envChanges = (reader: Reader, sent: readonly nri.KeyValue[]): Change[] =>
  entryChanges(
    reader,
    {
      field: 'env',
      // What is behind = may be a secret: it is not named.
      name: (name) =>
        name.includes('=')
          ? reader.refuse(
              `env ${name.slice(0, name.indexOf('='))}`,
              'the name has a =',
              'send a name without =',
            )
          : reader.matching('env', name, /^[^=]+$/, 'send a name without =', 4096),
      value: (value, name) => {
        reader.text(`env ${name}`, `${name}=${value}`);
        return value;
      },
    },
    sent.map(({ key, value }) => ({ name: key, value })),
  );

export const rlimitChanges = (reader: Reader, sent: readonly nri.POSIXRlimit[]): Change[] =>
  plainChanges(
    reader,
    {
      field: 'rlimits',
      name: (type) => reader.oneOf('rlimits', type, [...rlimitNames]),
      value: ({ soft, hard }, type) => {
        reader.integer(`rlimits ${type} hard`, hard, 0n, MAX_RLIMIT);
        return { soft: reader.integer(`rlimits ${type} soft`, soft, 0n, hard), hard };
      },
    },
    sent.map((limit) => ({ name: limit.type, value: limit })),
  );

export const oomScoreAdjChanges = (reader: Reader, sent: nri.OptionalInt | undefined): Change[] =>
  singleChange(
    'oomScoreAdj',
    sent && reader.number('oomScoreAdj', sent.value, -MAX_OOM_SCORE_ADJ, MAX_OOM_SCORE_ADJ),
  );

export const ioPriorityChanges = (reader: Reader, sent: nri.LinuxIOPriority | undefined): Change[] =>
  singleChange(
    'ioPriority',
    sent && {
      class: reader.enumName('ioPriority.class', sent.class, nri.IOPrioClass),
      priority: reader.number('ioPriority.priority', sent.priority, 0, MAX_IO_PRIORITY),
    },
  );

export const schedulerChanges = (reader: Reader, sent: nri.LinuxScheduler | undefined): Change[] =>
  singleChange('scheduler', sent && scheduler(reader, sent));

/** Of what a policy does not use the kernel refuses any value but 0 (sched(7)). */
function scheduler(reader: Reader, sent: nri.LinuxScheduler): AdjustedScheduler {
  const policy = reader.enumName('scheduler.policy', sent.policy, nri.LinuxSchedulerPolicy);
  if (policy === 'SCHED_ISO')
    reader.refuse('scheduler.policy', 'Linux has no SCHED_ISO', 'use another policy');
  const nice = ['SCHED_OTHER', 'SCHED_BATCH'].includes(policy) ? NICE : { least: 0, most: 0 };
  const priority = ['SCHED_FIFO', 'SCHED_RR'].includes(policy) ? REALTIME : { least: 0, most: 0 };
  const times = deadlineTimes(reader, policy, sent);
  const flags = reader
    .list('scheduler.flags', sent.flags, Object.keys(nri.LinuxSchedulerFlag).length)
    .map((flag) => reader.enumName('scheduler.flags', flag, nri.LinuxSchedulerFlag));
  return {
    policy,
    nice: reader.number('scheduler.nice', sent.nice, nice.least, nice.most),
    priority: reader.number('scheduler.priority', sent.priority, priority.least, priority.most),
    flags,
    ...times,
  };
}

/** Shortest runtime, nanoseconds, and the longest time of all (__checkparam_dl, sched/deadline.c). */
const MIN_DEADLINE = 1024n;
const MAX_DEADLINE = 2n ** 63n - 1n;

/** 0 < runtime <= deadline <= period; a period of 0 is that of the deadline. */
function deadlineTimes(reader: Reader, policy: string, { runtime, deadline, period }: nri.LinuxScheduler) {
  const used = policy === 'SCHED_DEADLINE';
  const check = (name: string, value: bigint, least: bigint, most: bigint) =>
    reader.integer(`scheduler.${name}`, value, used ? least : 0n, used ? most : 0n);
  check('deadline', deadline, MIN_DEADLINE, MAX_DEADLINE);
  check('runtime', runtime, MIN_DEADLINE, deadline);
  if (period !== 0n) check('period', period, deadline, MAX_DEADLINE);
  return { runtime, deadline, period };
}
