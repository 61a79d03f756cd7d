/** The conversation with one pause process; its protocol is told in linux/shim/pause.c. */
import { closeSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { CrispError } from '#core/errors.ts';
import { refused } from '../libc/errno.ts';
import { kill } from '../libc/libc.ts';
import type { HeldPause, NamespaceKind, ProcessRef } from '../ports/kernel.ts';
import type { OwnedChild, ProcessWatches } from '../process/child.ts';
import { type SpawnedPause, spawnPause } from './pause-spawn.ts';

const SIGKILL = 9;
/** The program's steps take about a millisecond each: past this something is badly wrong. */
const STEP_MS = 10_000;
/** How long it may take to notice the end of its start pipe. */
const LEAVE_MS = 2_000;

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

  /** Waits for a line that begins with the word and returns the rest; undefined is the end of the pipe. */
  async #next(): Promise<string | undefined> {
    const deadline = AbortSignal.timeout(STEP_MS);
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined || this.#ended) return line;
      if (deadline.aborted)
        throw new CrispError('DeadlineExceeded', `pause process ${this.process.pid} does not answer`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      deadline.addEventListener('abort', () => resolve(), { once: true });
      await promise;
    }
  }

  /** Waits until it says the word; returns what follows it on the line. */
  async expect(word: string): Promise<string> {
    const line = await this.#next();
    if (line === undefined) {
      throw new CrispError('Unavailable', `pause process ${this.process.pid} ended before it said "${word}"`);
    }
    const [first = '', second = '', ...rest] = line.split(' ');
    if (first === 'error')
      throw refused(`pause process ${this.process.pid}: ${rest.join(' ')}`, Number(second));
    if (first !== word)
      throw new CrispError('Internal', `the pause process said "${line}" instead of "${word}"`);
    return second;
  }

  /** The process that holds a new pid namespace is another child of ours: from now on that one counts. */
  succeed(pid: number): void {
    if (pid !== this.process.pid) this.#child = this.#watches.adopt(pid, true);
  }

  /** Lets it take the next step. */
  proceed(): void {
    if (this.#start === undefined)
      throw new CrispError('Internal', `pause process ${this.process.pid} was let go already`);
    writeSync(this.#start, '\n');
  }

  async release(): Promise<void> {
    this.proceed();
    this.#closeStart();
    await this.expect('sealed');
    if ((await this.#next()) !== undefined)
      throw new CrispError('Internal', 'the pause process went on talking');
  }

  /** The end of its start pipe; a process that does not heed it is killed. Resolves when it is reaped. */
  async abandon(): Promise<void> {
    const held = this.#start !== undefined;
    this.#closeStart();
    const timer = setTimeout(() => kill(this.process.pid, SIGKILL), held ? LEAVE_MS : 0);
    const child = this.#child;
    await child.exited;
    clearTimeout(timer);
    this.#status.destroy();
  }

  #closeStart(): void {
    if (this.#start !== undefined) closeSync(this.#start);
    this.#start = undefined;
  }

  /** The face that the sandbox sees. */
  held(pins: Partial<Record<NamespaceKind, string>>, enters: boolean): HeldPause {
    return {
      process: this.process,
      pins,
      enters,
      release: () => this.release(),
      abandon: () => this.abandon(),
    };
  }
}
