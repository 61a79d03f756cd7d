import { setTimeout as sleep } from 'node:timers/promises';
import { parseStat } from '#linux/process/identity.ts';
import type { ContainerRecord } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';
import { textOf } from '../text-of.ts';

const SIGKILL = 9;
const FIRST_LOOK_MS = 1;
const SLOWEST_LOOK_MS = 50;
/** For processes of which it is not known whose they are: kernels before 5.2 list zombies until somebody reaps them. */
const UNKNOWN_MS = 5000;

/**
 * Kills this container's conmon, and an OCI create that it may be waiting for with all that it has started, and resolves
 * when their cgroup lists none of them. Until then the OCI runtime may write its state directory, which the caller deletes
 * next; and what a process has forked before it ended is found by the next look alone.
 */
export async function endMonitor(
  context: Context,
  record: ContainerRecord,
  cgroup: string,
  signal: AbortSignal,
): Promise<void> {
  const { processes, cgroups } = context.kernel;
  if (record.monitor && processes.alive(record.monitor)) processes.signal(record.monitor, SIGKILL);
  const awaited = new Set<number>();
  const limit = performance.now() + UNKNOWN_MS;
  for (let pause = FIRST_LOOK_MS; ; pause = Math.min(2 * pause, SLOWEST_LOOK_MS)) {
    const listed = cgroups.processes(cgroup);
    // Taken before the arguments are read: whoever has the pid later is another.
    const references = new Map(listed.map((pid) => [pid, processes.reference(pid)]));
    const members = listed.map(memberOf);
    for (const pid of belongingTo(context, record, members)) {
      const process = references.get(pid);
      if (process) processes.signal(process, SIGKILL);
      awaited.add(pid);
    }
    const remains = members.some(({ pid }) => awaited.has(pid));
    if (!remains && (performance.now() > limit || members.every(isKnown))) return;
    await sleep(pause, undefined, { signal });
  }
}

interface Member {
  readonly pid: number;
  /** 0 where it is gone, as `session`. */
  readonly parent: number;
  readonly session: number;
  /**
   * None where it has ended after it was listed (by then it may have forked), where its main thread has while another is
   * still in a system call, and within execve(2).
   */
  readonly arguments: readonly string[];
}

function memberOf(pid: number): Member {
  const { parent = 0, session = 0 } = parseStat(textOf(`/proc/${pid}/stat`)) ?? {};
  const text = textOf(`/proc/${pid}/cmdline`);
  return { pid, parent, session, arguments: text === '' ? [] : text.split('\0') };
}

const isKnown = (member: Member): boolean => member.arguments.length > 0;

/**
 * They are found by the container's id in their arguments, their children by their parents: a monitor that was
 * interrupted in its start has no record yet. Where it was killed, what it has started (the OCI runtime's hooks) has
 * another parent by now, but is still in the monitor's session.
 */
function belongingTo({ options }: Context, record: ContainerRecord, members: readonly Member[]): Set<number> {
  const monitor = Number(textOf(pathsOf(options, record.id).monitorPidFile)) || record.monitor?.pid;
  const own = members.filter((one) => one.session === monitor || one.arguments.includes(record.id));
  const found = new Set(own.map(({ pid }) => pid));
  // A set's iteration also visits what is added meanwhile: the children's children.
  for (const ancestor of found) {
    for (const { pid, parent } of members) if (parent === ancestor) found.add(pid);
  }
  return found;
}
