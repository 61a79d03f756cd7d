import { PassThrough, type Readable } from 'node:stream';
import { throwIfAborted } from '../libc/abort.ts';
import { refused } from '../libc/errno.ts';
import type {
  Child,
  ExitStatus,
  HeldProcess,
  Output,
  Processes,
  ProcessRef,
  SpawnRequest,
} from '../ports/kernel.ts';
import { run } from '../process/run.ts';

/** What a program writes and how it ends; undefined: it writes nothing and runs until it is killed. */
export type FakeProgram = (request: SpawnRequest) => (Partial<Output> & { status: ExitStatus }) | undefined;

interface Entry {
  readonly process: ProcessRef;
  readonly end: (status: ExitStatus) => void;
  readonly ended: Promise<ExitStatus>;
  readonly env: Readonly<Record<string, string>>;
  alive: boolean;
}

/** Signals that a program without handlers survives: SIGCHLD, SIGCONT, SIGURG, SIGWINCH, and none. */
const harmless = new Set([0, 17, 18, 23, 28]);

/** Processes in memory. */
export class FakeProcesses implements Processes {
  readonly bootId = 'fake-boot';
  readonly minOomScoreAdj = 0;
  readonly #program: FakeProgram;
  readonly #entries = new Map<number, Entry>();
  #nextPid = 5_000_000; // above every pid that Linux gives

  constructor(program: FakeProgram = () => undefined) {
    this.#program = program;
  }

  /** A process that lives until it is signalled. */
  begin(env: Entry['env'] = {}): Entry {
    const pid = this.#nextPid++;
    const { promise, resolve } = Promise.withResolvers<ExitStatus>();
    const process: ProcessRef = { pid, startTime: `${pid}`, bootId: this.bootId };
    const entry: Entry = {
      process,
      env,
      alive: true,
      ended: promise,
      end: (status) => {
        entry.alive = false;
        resolve(status);
      },
    };
    this.#entries.set(pid, entry);
    return entry;
  }

  async spawn(request: SpawnRequest): Promise<Child> {
    const entry = this.begin(request.env);
    const outcome = this.#program(request);
    const reading = (bytes: Buffer | undefined) => {
      const stream = new PassThrough();
      const close = () => stream.end();
      if (bytes) stream.write(bytes);
      void entry.ended.then(close);
      return stream;
    };
    const extra: Record<number, Readable | PassThrough> = {};
    for (const [number, target] of Object.entries(request.extra ?? {})) {
      if (typeof target === 'string')
        extra[Number(number)] = target === 'read' ? reading(undefined) : new PassThrough().resume();
    }
    const child: Child = {
      process: entry.process,
      stdin: request.stdin === 'pipe' ? new PassThrough().resume() : undefined,
      stdout: request.stdout === 'pipe' ? reading(outcome?.stdout) : undefined,
      stderr: request.stderr === 'pipe' ? reading(outcome?.stderr) : undefined,
      extra,
      exited: entry.ended,
    };
    if (outcome) setImmediate(() => entry.end(outcome.status));
    return child;
  }

  async run(
    request: SpawnRequest & { input?: string | Uint8Array; limit?: number },
    signal: AbortSignal,
  ): Promise<Output> {
    throwIfAborted(signal, request.argv[0] ?? '');
    const spawn = async (plan: SpawnRequest) => {
      const child = await this.spawn(plan);
      signal.addEventListener('abort', () => this.kill(child.process.pid, 9), { once: true });
      return child;
    };
    return run({ spawn }, request, signal);
  }

  seal(): undefined {}

  reference(pid: number): ProcessRef | undefined {
    const entry = this.#entries.get(pid);
    return entry?.alive ? entry.process : undefined;
  }

  alive(process: ProcessRef): boolean {
    const found = this.reference(process.pid);
    return found?.startTime === process.startTime && found.bootId === process.bootId;
  }

  hold(process: ProcessRef): HeldProcess | undefined {
    if (!this.alive(process)) return undefined;
    let status: ExitStatus | undefined;
    void this.#entries.get(process.pid)?.ended.then((ended) => {
      status = ended;
    });
    return { status: () => status, [Symbol.dispose]() {} };
  }

  executable(process: ProcessRef): string | undefined {
    return this.alive(process) ? '/fake' : undefined;
  }

  withVariable(name: string, value: string): ProcessRef[] {
    return [...this.#entries.values()]
      .filter(({ alive, env }) => alive && env[name] === value)
      .map(({ process }) => process);
  }

  signal(process: ProcessRef, signal: number): boolean {
    if (!this.alive(process)) return false;
    this.kill(process.pid, signal);
    return true;
  }

  /** kill(2): by number alone. */
  kill(pid: number, signal: number): void {
    const entry = this.#entries.get(pid);
    if (entry?.alive && !harmless.has(signal)) entry.end({ code: 128 + signal, signal });
  }

  /** Resolves at the end of the process; at once where there is none. */
  async ended(process: ProcessRef): Promise<void> {
    if (this.alive(process)) await this.#entries.get(process.pid)?.ended;
  }

  setOomScoreAdj(pid: number, wanted: number): number {
    if (!this.reference(pid)) throw refused(`set oom_score_adj of process ${pid}`, 'ENOENT');
    return Math.min(1000, Math.max(wanted, this.minOomScoreAdj));
  }
}
