/**
 * Processes are made by posix_spawn: libuv's fork grows slower with the daemon's memory, and the child inherits
 * the thread's signal mask and descriptors that some library opened without O_CLOEXEC.
 */
import { closeSync, existsSync, readdirSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { check, checkReturned, refused } from '../libc/errno.ts';
import {
  fcntl,
  getrlimit,
  O_CLOEXEC,
  pipe2,
  posixSpawn,
  prlimit,
  setrlimit,
  socketpair,
  spawnActions,
  spawnAttributes,
} from '../libc/libc.ts';

const SETSIGDEF = 0x04;
const SETSIGMASK = 0x08;
const SETSID = 0x80;
const SIGSET_BYTES = 128;
const F_DUPFD_CLOEXEC = 1030;
const RLIMIT_NOFILE = 7;
const O_RDWR = 2;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
/** The soft limit of files that programs expect; Node raises its own to the hard one. */
const CHILD_FILES = 1024n;
/** Below this many open files the daemon can itself live with the child's limit for the time of one spawn. */
const MAX_OPEN_FILES = 900;

/** A descriptor of the parent, or /dev/null. */
export type ChildDescriptor = number | 'null';

export interface SpawnPlan {
  /** An absolute path or a name looked up in PATH. */
  readonly program: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** By number in the child; all others are closed. */
  readonly descriptors: ReadonlyMap<number, ChildDescriptor>;
  /** It stays in this program's session, with its terminal, and has the other descriptors that are not closed by exec. */
  readonly inherits?: true;
}

/** Both ends of a new pipe, closed in any program executed. */
export function makePipe(): { read: number; write: number } {
  const fds = new Int32Array(2);
  check(pipe2(fds, O_CLOEXEC), 'make a pipe');
  const [read = -1, write = -1] = fds;
  return { read, write };
}

/** Both ends of a new stream socket, closed in any program executed. */
export function makeSocketPair(): readonly [number, number] {
  const fds = new Int32Array(2);
  check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 'make a pair of sockets');
  const [one = -1, other = -1] = fds;
  return [one, other];
}

/**
 * Starts a program, in a session of its own unless it inherits this one's, with default signals, an empty mask and only the named descriptors, and
 * returns its pid. Blocks this thread for some 0.2 ms. The caller must reap it. Callable from any thread.
 */
export function spawnProcess(
  plan: SpawnPlan,
  library: Pick<typeof spawnActions, 'closeFrom'> = spawnActions,
): number {
  const what = `start ${plan.program}`;
  refuseNul(plan, what);
  const highest = Math.max(2, ...plan.descriptors.keys());
  const moved: number[] = [];
  const actions = new Uint8Array(spawnActions.size);
  const attributes = new Uint8Array(spawnAttributes.size);
  checkReturned(spawnActions.init(actions), what);
  checkReturned(spawnAttributes.init(attributes), what);
  try {
    prepareAttributes(attributes, plan.inherits ? 0 : SETSID, what);
    for (let number = 0; number <= highest; number++) {
      prepareDescriptor(actions, number, plan.descriptors.get(number), highest, moved, what);
    }
    if (!plan.inherits) closeAbove(actions, highest, library.closeFrom, what);
    if (plan.cwd !== undefined) checkReturned(spawnActions.chdir(actions, plan.cwd), what);
    return start(plan, actions, attributes, what);
  } finally {
    spawnActions.destroy(actions);
    spawnAttributes.destroy(attributes);
    for (const fd of moved) closeSync(fd);
  }
}

/**
 * A C library before glibc 2.34 closes no descriptors from a number on: those that are open now are named one by one.
 * What another thread opens meanwhile without O_CLOEXEC slips through; Node and crisp open nothing so. Closing a
 * descriptor that is not open is not an error there (spawni.c).
 */
function closeAbove(
  actions: Uint8Array,
  highest: number,
  closeFrom: typeof spawnActions.closeFrom,
  what: string,
): void {
  if (closeFrom) {
    checkReturned(closeFrom(actions, highest + 1), what);
    return;
  }
  for (const number of readdirSync('/proc/thread-self/fd').map(Number))
    if (number > highest) checkReturned(spawnActions.close(actions, number), what);
}

function prepareAttributes(attributes: Uint8Array, session: number, what: string): void {
  const all = new Uint8Array(SIGSET_BYTES).fill(0xff);
  checkReturned(spawnAttributes.defaults(attributes, all), what);
  checkReturned(spawnAttributes.mask(attributes, new Uint8Array(SIGSET_BYTES)), what);
  checkReturned(spawnAttributes.flags(attributes, SETSIGDEF | SETSIGMASK | session), what);
}

/** Sources at or below the highest number are moved up first, so that no step overwrites the source of a later one. */
function prepareDescriptor(
  actions: Uint8Array,
  number: number,
  source: ChildDescriptor | undefined,
  highest: number,
  moved: number[],
  what: string,
): void {
  if (source === 'null') {
    checkReturned(spawnActions.open(actions, number, '/dev/null', O_RDWR, 0), what);
  } else if (source === undefined) {
    checkReturned(spawnActions.close(actions, number), what);
  } else {
    let from = source;
    if (source <= highest) {
      from = check(fcntl(source, F_DUPFD_CLOEXEC, highest + 1), `${what}: descriptor ${source}`);
      moved.push(from);
    }
    checkReturned(spawnActions.dup2(actions, from, number), what);
  }
}

function start(plan: SpawnPlan, actions: Uint8Array, attributes: Uint8Array, what: string): number {
  const env = Object.entries(plan.env).map(([name, value]) => `${name}=${value}`);
  const pid = new Int32Array(1);
  using limit = new ChildFileLimit();
  const errno = posixSpawn(pid, plan.program, actions, attributes, [...plan.argv, null], [...env, null]);
  if (errno !== 0) {
    if (plan.cwd !== undefined && !existsSync(plan.cwd))
      throw refused(`${what} in ${plan.cwd}`, errno, 'no such directory');
    throw refused(what, errno);
  }
  const [child = 0] = pid;
  limit.settle(child);
  return child;
}

/**
 * Gives the child its soft limit of files. It inherits the daemon's, so that is lowered for the time of the call: a
 * limit set afterwards could be read by the child before it is set. Other threads may open files meanwhile; where so
 * many are open that they could fail, the limit is set afterwards all the same.
 */
class ChildFileLimit implements Disposable {
  readonly #own = new BigUint64Array(2);
  readonly #child: BigUint64Array;
  readonly #lowered: boolean;

  constructor() {
    check(getrlimit(RLIMIT_NOFILE, this.#own), 'read the limit of files');
    const [soft = 0n, hard = 0n] = this.#own;
    this.#child = new BigUint64Array([hard < CHILD_FILES ? hard : CHILD_FILES, hard]);
    const { read, write } = makePipe();
    closeSync(read);
    closeSync(write);
    this.#lowered =
      soft > CHILD_FILES && write < MAX_OPEN_FILES && setrlimit(RLIMIT_NOFILE, this.#child) === 0;
  }

  settle(pid: number): void {
    if (!this.#lowered) prlimit(pid, RLIMIT_NOFILE, this.#child, null);
  }

  [Symbol.dispose](): void {
    if (this.#lowered) setrlimit(RLIMIT_NOFILE, this.#own);
  }
}

/** C ends a string at its first NUL: such a text would arrive truncated. */
function refuseNul(plan: SpawnPlan, what: string): void {
  const texts = [
    plan.program,
    ...plan.argv,
    ...Object.keys(plan.env),
    ...Object.values(plan.env),
    plan.cwd ?? '',
  ];
  if (texts.some((text) => text.includes('\0'))) {
    throw new CrispError('InvalidArgument', `${what}: an argument or a variable contains a NUL character`);
  }
}
