/** Commands that an OCI runtime executes detached in a container, under the exec shim (linux/shim/exec.c). */
import { closeSync, readdirSync, readFileSync } from 'node:fs';
import { terminalOf } from '../io/terminal.ts';
import { abandoned } from '../libc/abort.ts';
import { check } from '../libc/errno.ts';
import { fcntl, pidfdGetDescriptor, pidfdOpen } from '../libc/libc.ts';
import type { Child, Processes, ProcessRef } from '../ports/kernel.ts';
import type { DetachedCommand, DetachedRequest, Terminal } from '../ports/streams.ts';
import { referenceOf } from './identity.ts';

const SUBCOMMAND = 'exec-shim';
/** Its name in shims that an earlier version of crisp has started and that are still running. */
const FORMER_SUBCOMMAND = 'attend';
const CONTROL_READ_FD = 3;
const RELEASE_FD = 4;
const F_SETFL = 4;
const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
/** Descriptor numbers are short: a longer line was not written by the shim. */
const MAX_LINE = 12;

/** See `Streams.runDetached`. */
export async function runDetached(
  spawn: Processes['spawn'],
  program: string,
  request: DetachedRequest,
): Promise<DetachedCommand> {
  const { argv, env, joinFiles = [], directory, pidFile, terminal, stdio } = request;
  const child = await spawn({
    argv: [program, SUBCOMMAND, pidFile, terminal ?? '-', '--', ...argv],
    env,
    joinFiles,
    cwd: directory,
    ...(terminal === undefined ? stdio : { stdin: 'null', stdout: 'null', stderr: 'null' }),
    ...(terminal === undefined ? {} : { extra: { [CONTROL_READ_FD]: 'read', [RELEASE_FD]: 'write' } }),
  });
  if (terminal === undefined) return { child, terminal: async () => undefined };
  const number = readDescriptorNumber(child);
  return { child, terminal: (signal) => receiveTerminal(child, number, signal) };
}

/** Waits for the terminal, takes its descriptor, and has the shim close its own. */
async function receiveTerminal(
  child: Child,
  line: Promise<number | undefined>,
  signal: AbortSignal,
): Promise<Terminal | undefined> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(abandoned('wait for the terminal', signal));
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    const number = await Promise.race([line, promise]);
    return number === undefined ? undefined : terminalOf(takeDescriptor(child, number));
  } finally {
    signal.removeEventListener('abort', onAbort);
    child.extra[CONTROL_READ_FD]?.destroy();
    child.extra[RELEASE_FD]?.destroy();
  }
}

/** See `Streams.execShims`. Found by their arguments, not by a record: a crash between start and record would lose them. */
export function execShims(pidFile: string, bootId: string): ProcessRef[] {
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid)) return [];
    const found = referenceOf(pid, bootId);
    const argv = argumentsOf(pid);
    const at = argv.findIndex((word) => word === SUBCOMMAND || word === FORMER_SUBCOMMAND);
    return found && at > 0 && argv[at + 1] === pidFile ? [found] : [];
  });
}

function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
  } catch {
    return []; // it has ended
  }
}

/** The number of the terminal's descriptor; undefined where the runtime has failed. Reads from now on. */
async function readDescriptorNumber(child: Child): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let output = '';
  const pipe = child.extra[CONTROL_READ_FD];
  pipe?.on('data', (chunk: Buffer) => {
    output += chunk.toString('latin1');
    if (output.includes('\n') || output.length > MAX_LINE) resolve(output);
  });
  pipe?.once('close', () => resolve(output));
  if (!pipe || pipe.destroyed) resolve(output);
  const text = await promise;
  return /^\d+\n$/.test(text) ? Number(text) : undefined;
}

/** A descriptor of our own for what the child has open; it does not block. */
function takeDescriptor(child: Child, number: number): number {
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
