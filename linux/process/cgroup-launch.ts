/**
 * Children that join cgroups before their program begins, by the subcommand `join-cgroups` of the pause program. A single
 * thread that moves itself by `tasks` takes 0.01 ms a group; moved from outside it takes the kernel's lock of all thread
 * groups and waits for a grace period of RCU, while every fork on the node waits too. A thread of the daemon must not
 * join in place of the child: it would be frozen, or killed, with the pod.
 */
import type { Duplex } from 'node:stream';
import { CrispError } from '#core/errors.ts';
import { refused } from '../libc/errno.ts';
import { kill } from '../libc/libc.ts';
import type { Child, SpawnRequest } from '../ports/kernel.ts';

const SIGKILL = 9;
/** It takes half a millisecond: past this the group is frozen. */
const JOIN_MS = 10_000;

/** The request that joins the groups first, and the number of the status pipe in the child. */
export function launchInCgroups(
  request: SpawnRequest,
  groups: readonly string[],
): { request: SpawnRequest; status: number } {
  const status = Math.max(2, ...Object.keys(request.extra ?? {}).map(Number)) + 1;
  const argv = ['crisp-pause', 'join-cgroups', String(status), ...groups, '--', ...request.argv];
  return { request: { ...request, argv, extra: { ...request.extra, [status]: 'read' } }, status };
}

/** Resolves when the program begins; throws KernelRefused or NotFound with what was refused, DeadlineExceeded. */
export async function awaitStart(child: Child, status: number, program: string): Promise<Child> {
  const { [status]: pipe, ...extra } = child.extra;
  try {
    const output = await readToEnd(pipe as Duplex, child.process.pid, program);
    const [keyword, errno = '', ...what] = output.trim().split(' ');
    if (keyword !== 'error') return { ...child, extra };
    throw refused(`start ${program}: ${what.join(' ')}`, Number(errno));
  } catch (error) {
    for (const stream of [child.stdin, child.stdout, child.stderr, ...Object.values(extra)])
      stream?.destroy();
    throw error;
  } finally {
    pipe?.destroy();
  }
}

/** What is written to the pipe until its end. */
async function readToEnd(pipe: Duplex, pid: number, program: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let output = '';
  pipe.on('data', (chunk: Buffer) => {
    output += chunk.toString('latin1');
  });
  pipe.once('close', () => resolve(output));
  const timer = setTimeout(() => {
    kill(pid, SIGKILL);
    reject(
      new CrispError('DeadlineExceeded', `start ${program}: not in its cgroups after ${JOIN_MS / 1000} s`, {
        hint: 'check whether one of the groups is frozen (freezer.state, cgroup.freeze)',
      }),
    );
  }, JOIN_MS);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}
