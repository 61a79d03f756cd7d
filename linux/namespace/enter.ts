/** The namespaces of another process for this whole program, which then becomes another one: what nsenter(1) does. */
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import { CrispError } from '#core/errors.ts';
import { bind } from '../libc/c-library.ts';
import { check, namingSync, refused } from '../libc/errno.ts';
import { fcntl, getrlimit, kill, lastErrno, setns, setrlimit, unshare } from '../libc/libc.ts';
import { ProcessWatches } from '../process/child.ts';
import { readStat } from '../process/identity.ts';
import { spawnProcess } from '../process/spawn.ts';
import { cloneFlags } from './setns.ts';

const execvp = bind<(program: string, argv: (string | null)[]) => number>(
  'int execvp(const char *program, const char **argv)',
);
const signal = bind<(number: number, handler: number) => number>(
  'intptr_t signal(int number, intptr_t handler)',
);
const [CLONE_FS, F_SETFD, F_GETFL, F_SETFL, O_NONBLOCK] = [0x200, 2, 3, 4, 0o4000];
const [SIG_DFL, SIGNALS] = [0, 31];
const RLIMIT_NOFILE = 7;
/** Node has raised its own to the hard limit; programs expect this one. */
const SOFT_FILES = 1024n;

export type EnteredKind = 'net' | 'pid' | 'mnt';

/** Namespaces of a process, held by descriptors: they are those of that process even when another one gets its pid. */
export class HeldNamespaces implements Disposable {
  readonly #pid: number;
  readonly #startTime: string | undefined;
  readonly #files: (readonly [kind: EnteredKind, fd: number])[] = [];

  /** Throws NotFound where the process has ended, KernelRefused where this program may not. */
  constructor(pid: number, kinds: readonly EnteredKind[]) {
    this.#pid = pid;
    this.#startTime = readStat(pid)?.startTime;
    try {
      for (const kind of kinds) {
        const path = `/proc/${pid}/ns/${kind}`;
        this.#files.push([kind, namingSync(`open ${path}`, () => openSync(path, 'r'))]);
      }
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Whether the pid still is the process of the beginning: what was opened in between is then that one's. */
  get isSame(): boolean {
    return this.#startTime !== undefined && readStat(this.#pid)?.startTime === this.#startTime;
  }

  /**
   * The mount namespace last: behind it paths are those of the other root. Of the main thread, and there is no way back; that of
   * pids is for what is started then, and this program can start no more threads.
   */
  enter(): void {
    for (const [kind, fd] of this.#files.toSorted(([one]) => (one === 'mnt' ? 1 : -1))) {
      // A thread that shares its root and directory with others may not change its mount namespace.
      if (kind === 'mnt') check(unshare(CLONE_FS), 'unshare the root directory');
      check(setns(fd, cloneFlags[kind]), `enter the ${kind} namespace of process ${this.#pid}`);
    }
  }

  [Symbol.dispose](): void {
    for (const [, fd] of this.#files.splice(0)) closeSync(fd);
  }
}

/**
 * Runs a program with the environment, the terminal and the streams of this one, and returns its exit code (128 + signal). What
 * enters a pid namespace must be a new process. Throws NotFound where there is no such program.
 */
export async function runAttached(argv: readonly string[]): Promise<number> {
  const env = Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, value ?? '']));
  const descriptors = new Map([0, 1, 2].map((fd) => [fd, fd]));
  using watches = new ProcessWatches('');
  const pid = spawnProcess({ program: argv[0] ?? '', argv, env, descriptors, inherits: true });
  const { exited } = watches.adopt(pid, false);
  // The terminal sends its signals to both; others are sent to this program alone.
  const forward = (name: NodeJS.Signals) => void kill(pid, constants.signals[name]);
  const ignore = () => {};
  for (const name of ['SIGTERM', 'SIGHUP'] as const) process.on(name, forward);
  for (const name of ['SIGINT', 'SIGQUIT'] as const) process.on(name, ignore);
  return (await exited).code;
}

/**
 * Replaces this program by another, with the environment of `process.env`, the terminal and the job control that this one has.
 * Returns only by throwing: NotFound where there is no such program.
 */
export function become(argv: readonly string[]): never {
  const [program = ''] = argv;
  if (argv.some((word) => word.includes('\0')))
    throw new CrispError('InvalidArgument', 'an argument contains a NUL character');
  // Node ignores some, and what is ignored stays so.
  for (let number = 1; number <= SIGNALS; number++) signal(number, SIG_DFL);
  const files = new BigUint64Array(2);
  if (getrlimit(RLIMIT_NOFILE, files) === 0 && (files[1] ?? 0n) > SOFT_FILES) {
    files[0] = SOFT_FILES;
    setrlimit(RLIMIT_NOFILE, files);
  }
  for (const fd of [0, 1, 2]) {
    fcntl(fd, F_SETFD, 0); // Node closes them in what is executed
    const flags = fcntl(fd, F_GETFL, 0);
    if (flags >= 0 && (flags & O_NONBLOCK) !== 0) fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  }
  execvp(program, [...argv, null]);
  throw refused(`execute ${program}`, lastErrno());
}
