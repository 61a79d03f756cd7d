/** Controls one pause process; its protocol is described in linux/shim/pause.c. */
import { closeSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { CrispError } from '#core/errors.ts';
import { errnoName, refused } from '../libc/errno.ts';
import { kill } from '../libc/libc.ts';
import type { HeldPause, NamespaceKind, ProcessRef } from '../ports/kernel.ts';
import type { OwnedChild, ProcessWatches } from '../process/child.ts';
import { type SpawnedPause, spawnPause } from './pause-spawn.ts';

const SIGKILL = 9;
/** The program's steps take about a millisecond each. */
const STEP_MS = 10_000;
/** How long it may take to exit after the end of its start pipe. */
const EXIT_MS = 2_000;

export class PauseProcess {
  readonly #status: Socket;
  readonly #watches: ProcessWatches;
  readonly #lines: string[] = [];
  #start: number | undefined;
  #child: OwnedChild;
  #partial = '';
  #ended = false;
  #wake: () => void = () => {};

  constructor(made: SpawnedPause, watches: ProcessWatches) {
    this.#watches = watches;
    this.#start = made.start;
    this.#status = new Socket({ fd: made.status, readable: true, writable: false });
    this.#status.on('error', () => {});
    this.#status.on('data', (chunk: Buffer) => this.#take(chunk.toString('latin1')));
    this.#status.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
    try {
      this.#child = watches.adopt(made.pid, true);
    } catch (error) {
      this.#closeStart();
      this.#status.destroy();
      throw error;
    }
  }

  static spawn(program: string, argv: readonly string[], watches: ProcessWatches): PauseProcess {
    return new PauseProcess(spawnPause(program, argv), watches);
  }

  get process(): ProcessRef {
    return this.#child.process;
  }

  #take(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop() ?? '';
    this.#lines.push(...lines);
    this.#wake();
  }

  /** The next line; undefined at the end of the pipe. */
  async #next(): Promise<string | undefined> {
    const deadline = AbortSignal.timeout(STEP_MS);
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined || this.#ended) return line;
      if (deadline.aborted)
        throw new CrispError('DeadlineExceeded', `pause process ${this.process.pid} does not reply`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      deadline.addEventListener('abort', () => resolve(), { once: true });
      await promise;
    }
  }

  /** Waits for a line that begins with the keyword; returns the word behind it. */
  async expect(keyword: string): Promise<string> {
    const line = await this.#next();
    if (line === undefined) {
      throw new CrispError(
        'Unavailable',
        `pause process ${this.process.pid} exited before it reported "${keyword}"`,
      );
    }
    const [first = '', second = '', ...rest] = line.split(' ');
    if (first === 'error')
      throw refused(`pause process ${this.process.pid}: ${rest.join(' ')}`, Number(second));
    if (first !== keyword)
      throw new CrispError('Internal', `the pause process reported "${line}" instead of "${keyword}"`);
    return second;
  }

  /** With a new pid namespace the pause process is another child of ours, PID 1 in there: adopts that one. */
  replaceProcess(pid: number): void {
    if (pid !== this.process.pid) this.#child = this.#watches.adopt(pid, true);
  }

  /** Starts its next step. */
  proceed(): void {
    if (this.#start === undefined)
      throw new CrispError('Internal', `pause process ${this.process.pid} was released already`);
    writeSync(this.#start, '\n');
  }

  /** Resolves with the errno's name where the policy has refused its SELinux context. */
  async release(): Promise<string | undefined> {
    this.proceed();
    this.#closeStart();
    const errno = await this.expect('sealed');
    if ((await this.#next()) !== undefined)
      throw new CrispError('Internal', 'the pause process wrote more after "sealed"');
    return errno === '' ? undefined : errnoName(Number(errno));
  }

  /** Closes its start pipe, and kills it where it does not exit. Resolves when it is reaped. */
  async abandon(): Promise<void> {
    const held = this.#start !== undefined;
    this.#closeStart();
    const timer = setTimeout(() => kill(this.process.pid, SIGKILL), held ? EXIT_MS : 0);
    const child = this.#child;
    await child.exited;
    clearTimeout(timer);
    this.#status.destroy();
  }

  #closeStart(): void {
    if (this.#start !== undefined) closeSync(this.#start);
    this.#start = undefined;
  }

  /** What `Namespaces.hold` returns. `onRefused`: called where its SELinux context is refused. */
  toHeldPause(
    pins: Partial<Record<NamespaceKind, string>>,
    joinsCgroups: boolean,
    onRefused: (errno: string) => void,
  ): HeldPause {
    return {
      process: this.process,
      pins,
      joinsCgroups,
      release: async () => {
        const errno = await this.release();
        if (errno !== undefined) onRefused(errno);
      },
      abandon: () => this.abandon(),
    };
  }
}
