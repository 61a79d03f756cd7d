/** Commands that an OCI runtime leaves behind in a container, by the third trade of the pause program (exec.c). */
import { closeSync, readdirSync, readFileSync } from 'node:fs';
import { terminalOf } from '../io/terminal.ts';
import { abandoned } from '../libc/abort.ts';
import { check } from '../libc/errno.ts';
import { fcntl, pidfdGetDescriptor, pidfdOpen } from '../libc/libc.ts';
import type { Child, Processes, ProcessRef } from '../ports/kernel.ts';
import type { DetachedCommand, DetachedRequest, Terminal } from '../ports/streams.ts';
import { referenceOf } from './identity.ts';

const ATTEND = 'attend';
const TELL = 3;
const LET_GO = 4;
const F_SETFL = 4;
const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
/** Descriptors of one process are few: a longer line is none of ours. */
const MAX_LINE = 12;

/** See `Streams.runDetached`. */
export async function runDetached(
  spawn: Processes['spawn'],
  program: string,
  request: DetachedRequest,
): Promise<DetachedCommand> {
  const { argv, env, enter = [], directory, pidFile, terminal, stdio } = request;
  const child = await spawn({
    argv: [program, ATTEND, pidFile, terminal ?? '-', '--', ...argv],
    env,
    enter,
    cwd: directory,
    ...(terminal === undefined ? stdio : { stdin: 'null', stdout: 'null', stderr: 'null' }),
    ...(terminal === undefined ? {} : { extra: { [TELL]: 'read', [LET_GO]: 'write' } }),
  });
  if (terminal === undefined) return { child, terminal: async () => undefined };
  const told = line(child);
  return { child, terminal: (signal) => handedOver(child, told, signal) };
}

/** Waits for the terminal, takes it, and lets the child let go of it. */
async function handedOver(
  child: Child,
  told: Promise<number | undefined>,
  signal: AbortSignal,
): Promise<Terminal | undefined> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(abandoned('wait for the terminal', signal));
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    const number = await Promise.race([told, promise]);
    return number === undefined ? undefined : terminalOf(take(child, number));
  } finally {
    signal.removeEventListener('abort', onAbort);
    child.extra[TELL]?.destroy();
    child.extra[LET_GO]?.destroy();
  }
}

/** See `Streams.attendants`. Arguments are looked at, and not what somebody has recorded: there is no gap between. */
export function attendants(pidFile: string, bootId: string): ProcessRef[] {
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid)) return [];
    const found = referenceOf(pid, bootId);
    const words = argumentsOf(pid);
    const at = words.indexOf(ATTEND);
    return found && at > 0 && words[at + 1] === pidFile ? [found] : [];
  });
}

function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
  } catch {
    return []; // it has ended
  }
}

/** The number of the terminal's descriptor; undefined where the runtime has failed. Listens from now on. */
async function line(child: Child): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let said = '';
  const pipe = child.extra[TELL];
  pipe?.on('data', (chunk: Buffer) => {
    said += chunk.toString('latin1');
    if (said.includes('\n') || said.length > MAX_LINE) resolve(said);
  });
  pipe?.once('close', () => resolve(said));
  if (!pipe || pipe.destroyed) resolve(said);
  const text = await promise;
  return /^\d+\n$/.test(text) ? Number(text) : undefined;
}

/** A descriptor of our own for what the child has open; it does not block. */
function take(child: Child, number: number): number {
  const { pid } = child.process;
  const what = `take the terminal of process ${pid}`;
  const pidfd = check(pidfdOpen(pid), what);
  try {
    const fd = check(pidfdGetDescriptor(pidfd, number), what);
    try {
      check(fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK), what);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  } finally {
    closeSync(pidfd);
  }
}
