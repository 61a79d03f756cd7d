/**
 * Children that enter cgroups before their program begins, by the second trade of the pause program. A single thread
 * that moves itself by `tasks` takes 0.01 ms a group; moved from outside it takes the kernel's lock of all thread groups
 * and waits for a grace period of RCU, while every fork on the node waits too. No thread of the daemon goes there in the
 * child's stead: it would be frozen, or killed, with the pod.
 */
import type { Duplex } from 'node:stream';
import { CrispError } from '#core/errors.ts';
import { refused } from '../libc/errno.ts';
import { kill } from '../libc/libc.ts';
import type { Child, SpawnRequest } from '../ports/kernel.ts';

const SIGKILL = 9;
/** It is done in half a millisecond: past this the group is frozen. */
const ENTER_MS = 10_000;

/** The request that does it, and the number of the status pipe in the child. */
export function entering(
  request: SpawnRequest,
  groups: readonly string[],
): { request: SpawnRequest; status: number } {
  const status = Math.max(2, ...Object.keys(request.extra ?? {}).map(Number)) + 1;
  const argv = ['crisp-pause', 'enter', String(status), ...groups, '--', ...request.argv];
  return { request: { ...request, argv, extra: { ...request.extra, [status]: 'read' } }, status };
}

/** Resolves when the program begins; throws KernelRefused or NotFound with what was refused, DeadlineExceeded. */
export async function begun(child: Child, status: number, program: string): Promise<Child> {
  const { [status]: pipe, ...extra } = child.extra;
  try {
    const said = await allOf(pipe as Duplex, child.process.pid, program);
    const [word, errno = '', ...what] = said.trim().split(' ');
    if (word !== 'error') return { ...child, extra };
    throw refused(`start ${program}: ${what.join(' ')}`, Number(errno));
  } catch (error) {
    for (const stream of [child.stdin, child.stdout, child.stderr, ...Object.values(extra)])
      stream?.destroy();
    throw error;
  } finally {
    pipe?.destroy();
  }
}

/** What the pipe says until its end. */
async function allOf(pipe: Duplex, pid: number, program: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let said = '';
  pipe.on('data', (chunk: Buffer) => {
    said += chunk.toString('latin1');
  });
  pipe.once('close', () => resolve(said));
  const timer = setTimeout(() => {
    kill(pid, SIGKILL);
    reject(
      new CrispError('DeadlineExceeded', `start ${program}: not in its cgroups after ${ENTER_MS / 1000} s`, {
        hint: 'see whether one of the groups is frozen (freezer.state, cgroup.freeze)',
      }),
    );
  }, ENTER_MS);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}
