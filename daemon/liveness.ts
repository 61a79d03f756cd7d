/**
 * Whether the daemon does its work: asked from outside of the code that does it, as its clients would. What is asked comes back
 * through the event loop, so a loop that is held up is seen, too.
 */
import type { DaemonStatus } from '#api/admin/contract.ts';
import { CrispError, describeError } from '#core/errors.ts';
import { withDeadline } from '#core/operation.ts';
import { askVersion } from '#cri/socket-probe.ts';
import type { LoopDelay } from './loop-delay.ts';
import { Since } from './since.ts';
import type { StoreProbe } from './store-probe.ts';

/** How long an answer of the socket may take, in ms. A machine at its limit needs seconds. */
const ANSWER_MS = 20_000;
/**
 * How long the event loop may be held up, in ms. Calls of the kubelet have two minutes, its probes of health one second: a loop
 * that is held up for so long, again and again, is no help, though each answer comes in time.
 */
const LOOP_MS = 10_000;

export interface LivenessParts {
  readonly socket: string;
  readonly store: Pick<StoreProbe, 'latest'>;
  readonly loop: Pick<LoopDelay, 'worstMs'>;
  readonly answerMs?: number;
}

const heldUp = (ms: number): CrispError =>
  new CrispError('DeadlineExceeded', `for ${(ms / 1000).toFixed(1)} s, more than ${LOOP_MS / 1000} s`);

const joined = (problems: readonly (string | undefined)[]): string | undefined =>
  problems.filter((problem) => problem !== undefined).join('; ') || undefined;

export class Liveness implements Disposable {
  readonly #socket: string;
  readonly #store: LivenessParts['store'];
  readonly #loop: LivenessParts['loop'];
  readonly #answerMs: number;
  readonly #ended = new AbortController();
  readonly #seen = { socket: new Since(), loop: new Since(), root: new Since() };
  /** The question that waits for its answer: all who ask meanwhile wait for the same. */
  #asking: { readonly at: number; readonly answer: Promise<string | undefined> } | undefined;

  constructor({ socket, store, loop, answerMs = ANSWER_MS }: LivenessParts) {
    this.#socket = socket;
    this.#store = store;
    this.#loop = loop;
    this.#answerMs = answerMs;
  }

  /** What fails, and why; undefined where nothing does. The root directory is not waited for: a disk may take longer than a prober. */
  async problem(): Promise<string | undefined> {
    return joined([await this.curable(), this.#rootProblem()]);
  }

  /** The same, of what a restart could mend: a disk is none the better for one. */
  async curable(): Promise<string | undefined> {
    return joined([await this.#socketProblem(), this.#loopProblem()]);
  }

  /** What was found last, each with the time since when it is so; of the socket also for how long it is being waited for. */
  latest(): DaemonStatus['checks'] {
    this.#loopProblem();
    this.#rootProblem();
    const { socket, loop, root } = this.#seen;
    const waiting = this.#asking && Math.round(performance.now() - this.#asking.at) / 1000;
    return [
      { name: 'socket', ...socket.answer, waitingSeconds: waiting },
      { name: 'event loop', ...loop.answer },
      { name: 'root directory', ...root.answer },
    ];
  }

  #loopProblem(): string | undefined {
    const { worstMs } = this.#loop;
    const problem =
      worstMs > LOOP_MS ? `the event loop is held up: ${describeError(heldUp(worstMs))}` : undefined;
    this.#seen.loop.note(problem);
    return problem;
  }

  #rootProblem(): string | undefined {
    const problem = this.#store.latest()?.message;
    this.#seen.root.note(problem);
    return problem;
  }

  #socketProblem(): Promise<string | undefined> {
    this.#asking ??= {
      at: performance.now(),
      answer: this.#askSocket().then((problem) => {
        this.#asking = undefined;
        this.#seen.socket.note(problem);
        return problem;
      }),
    };
    return this.#asking.answer;
  }

  async #askSocket(): Promise<string | undefined> {
    const { signal } = this.#ended;
    const ask = (limit: AbortSignal) => askVersion(this.#socket, limit);
    try {
      await withDeadline(`answer of the socket ${this.#socket}`, this.#answerMs, signal, ask);
      return undefined;
    } catch (error) {
      return `the socket ${this.#socket} does not answer: ${describeError(error)}`;
    }
  }

  [Symbol.dispose](): void {
    this.#ended.abort();
  }
}
