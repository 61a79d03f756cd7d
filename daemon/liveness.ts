/**
 * Whether the daemon does its work: asked from outside of the code that does it, as its clients would. What is asked comes back
 * through the event loop, so a loop that is held up is seen, too.
 */
import { CrispError, describeError } from '#core/errors.ts';
import { withDeadline } from '#core/operation.ts';
import { type SocketProbe, socketProbe } from '#cri/socket-probe.ts';
import type { LoopDelay } from './loop-delay.ts';
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

export class Liveness implements Disposable {
  readonly #socket: string;
  readonly #store: LivenessParts['store'];
  readonly #loop: LivenessParts['loop'];
  readonly #probe: SocketProbe;
  readonly #answerMs: number;

  constructor({ socket, store, loop, answerMs = ANSWER_MS }: LivenessParts) {
    this.#socket = socket;
    this.#store = store;
    this.#loop = loop;
    this.#probe = socketProbe(socket);
    this.#answerMs = answerMs;
  }

  /** What fails, and why; undefined where nothing does. The root directory is not waited for: a disk may take longer than a prober. */
  async problem(): Promise<string | undefined> {
    const problems = [await this.curable(), this.#store.latest()?.message];
    return problems.filter((problem) => problem !== undefined).join('; ') || undefined;
  }

  /** The same, of what a restart could mend: a disk is none the better for one. */
  async curable(): Promise<string | undefined> {
    const problems = [await this.#socketProblem(), this.#loopProblem()];
    return problems.filter((problem) => problem !== undefined).join('; ') || undefined;
  }

  #loopProblem(): string | undefined {
    const { worstMs } = this.#loop;
    return worstMs > LOOP_MS ? `the event loop is held up: ${describeError(heldUp(worstMs))}` : undefined;
  }

  async #socketProblem(): Promise<string | undefined> {
    const { signal } = new AbortController();
    const ask = (signal: AbortSignal) => this.#probe.ask(signal);
    try {
      await withDeadline(`answer of the socket ${this.#socket}`, this.#answerMs, signal, ask);
      return undefined;
    } catch (error) {
      return `the socket ${this.#socket} does not answer: ${describeError(error)}`;
    }
  }

  [Symbol.dispose](): void {
    this.#probe[Symbol.dispose]();
  }
}
