import { closeSync, existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { CrispError } from '#core/errors.ts';
import { check, errnoName, fromNode } from '../libc/errno.ts';
import { lastErrno, pidfdOpen, pidfdSendSignal } from '../libc/libc.ts';
import type { Child, HeldProcess, Processes, ProcessRef, SpawnRequest, StdioIn } from '../ports/kernel.ts';
import type { KernelLog } from '../ports/log.ts';
import { awaitStart, launchInCgroups } from './cgroup-launch.ts';
import type { ProcessWatches } from './child.ts';
import { hold } from './held-process.ts';
import { isAlive, referenceOf, withVariable } from './identity.ts';
import { run } from './run.ts';
import { SealedProgram } from './sealed-program.ts';
import { makePipe, makeSocketPair, spawnProcess } from './spawn.ts';

const CAP_SYS_RESOURCE = 24n;
/** Where it is on, the label of a program's file decides what its process may do; a memory file has none. */
const SELINUX = '/sys/fs/selinux/status';

/** The real processes. */
export class RealProcesses implements Processes {
  readonly bootId: string;
  readonly minOomScoreAdj: number = lowestOomScoreAdj();
  readonly #log: KernelLog;
  readonly #watches: ProcessWatches;
  readonly #launcher: { readonly path: string };
  #clampLogged = false;

  /** `launcher`: the pause program, which joins cgroups and then executes the child's program. */
  constructor(watches: ProcessWatches, launcher: { readonly path: string }, log: KernelLog) {
    this.bootId = watches.bootId;
    this.#watches = watches;
    this.#launcher = launcher;
    this.#log = log;
  }

  /** The caller reads or destroys each stream; their errors are ignored where no listener is set. */
  async spawn(request: SpawnRequest): Promise<Child> {
    const [program = ''] = request.argv;
    if (!request.joinFiles?.length) return this.#spawn(request, program);
    const plan = launchInCgroups(request, request.joinFiles);
    return awaitStart(this.#spawn(plan.request, this.#launcher.path), plan.status, program);
  }

  #spawn(request: SpawnRequest, program: string): Child {
    using plumbing = new Plumbing();
    const stdio = [request.stdin, request.stdout, request.stderr];
    for (const [number, target] of stdio.entries()) plumbing.connect(number, target ?? 'null', number === 0);
    for (const [number, target] of Object.entries(request.extra ?? {})) {
      if (Number(number) < 3)
        throw new CrispError('InvalidArgument', `extra descriptor ${number} is below 3`);
      if (target === 'socket') plumbing.connectSocket(Number(number));
      else plumbing.connect(Number(number), typeof target === 'string' ? 'pipe' : target, target === 'write');
    }
    const { argv, env, cwd } = request;
    const pid = spawnProcess({
      program,
      argv,
      env,
      ...(cwd === undefined ? {} : { cwd }),
      descriptors: plumbing.ofChild,
    });
    const owned = this.#watches.adopt(pid, false);
    const { 0: stdin, 1: stdout, 2: stderr, ...extra } = plumbing.streams();
    return { ...owned, stdin, stdout, stderr, extra };
  }

  run: Processes['run'] = (request, signal) => run(this, request, signal);

  seal(name: string, program: Uint8Array): { readonly path: string } | undefined {
    return existsSync(SELINUX) ? undefined : new SealedProgram(name, program);
  }

  reference(pid: number): ProcessRef | undefined {
    return referenceOf(pid, this.bootId);
  }

  alive(process: ProcessRef): boolean {
    return isAlive(process, this.bootId);
  }

  hold(process: ProcessRef): HeldProcess | undefined {
    return hold(process, this.bootId);
  }

  executable(process: ProcessRef): string | undefined {
    try {
      const path = readlinkSync(`/proc/${process.pid}/exe`);
      return this.alive(process) ? path : undefined;
    } catch {
      return undefined;
    }
  }

  withVariable(name: string, value: string): ProcessRef[] {
    return withVariable(`${name}=${value}`, this.bootId);
  }

  signal(process: ProcessRef, signal: number): boolean {
    if (process.bootId !== this.bootId) return false;
    const what = `send signal ${signal} to process ${process.pid}`;
    const pidfd = pidfdOpen(process.pid);
    if (pidfd < 0) {
      if (errnoName(lastErrno()) === 'ESRCH') return false;
      check(pidfd, what);
    }
    try {
      if (!this.alive(process)) return false;
      if (pidfdSendSignal(pidfd, signal) === 0) return true;
      if (errnoName(lastErrno()) === 'ESRCH') return false;
      check(-1, what);
      return false;
    } finally {
      closeSync(pidfd);
    }
  }

  setOomScoreAdj(pid: number, wanted: number): number {
    const allowed = Math.min(1000, Math.max(wanted, this.minOomScoreAdj));
    if (allowed !== wanted && !this.#clampLogged) {
      this.#clampLogged = true;
      this.#log.warn({ wanted, set: allowed }, 'oom_score_adj is clamped: the daemon lacks CAP_SYS_RESOURCE');
    }
    try {
      writeFileSync(`/proc/${pid}/oom_score_adj`, `${allowed}`);
    } catch (error) {
      throw fromNode(error, `set oom_score_adj of process ${pid} to ${allowed}`);
    }
    return allowed;
  }
}

/** Without CAP_SYS_RESOURCE a process cannot go below oom_score_adj_min; that is at most the present value. */
function lowestOomScoreAdj(): number {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  if ((BigInt(`0x${effective}`) >> CAP_SYS_RESOURCE) & 1n) return -1000;
  return Number(readFileSync('/proc/self/oom_score_adj', 'latin1'));
}

/** The pipes of one child. The child's ends are closed at the end of the scope, the parent's too unless taken. */
class Plumbing implements Disposable {
  readonly ofChild = new Map<number, number | 'null'>();
  readonly #childEnds: number[] = [];
  readonly #ofParent = new Map<number, { fd: number; use: 'read' | 'write' | 'both' }>();

  connect(number: number, target: StdioIn, parentWrites: boolean): void {
    if (target === 'null') {
      this.ofChild.set(number, 'null');
    } else if (target === 'pipe') {
      const { read, write } = makePipe();
      const [child, parent] = parentWrites ? [read, write] : [write, read];
      this.#childEnds.push(child);
      this.ofChild.set(number, child);
      this.#ofParent.set(number, { fd: parent, use: parentWrites ? 'write' : 'read' });
    } else {
      this.ofChild.set(number, target.fd);
    }
  }

  connectSocket(number: number): void {
    const [parent, child] = makeSocketPair();
    this.#childEnds.push(child);
    this.ofChild.set(number, child);
    this.#ofParent.set(number, { fd: parent, use: 'both' });
  }

  /** The parent's ends as streams, which own them from now on. */
  streams(): Record<number, Duplex> {
    const streams: Record<number, Duplex> = {};
    for (const [number, { fd, use }] of this.#ofParent) {
      streams[number] = stream(fd, use);
      this.#ofParent.delete(number);
    }
    return streams;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#childEnds) closeSync(fd);
    for (const { fd } of this.#ofParent.values()) closeSync(fd);
  }
}

/** An end as a stream. A broken pipe must not end the daemon, so an error has a listener from the start. */
function stream(fd: number, use: 'read' | 'write' | 'both'): Socket {
  const socket = new Socket({ fd, readable: use !== 'write', writable: use !== 'read' });
  return socket.on('error', () => {});
}
