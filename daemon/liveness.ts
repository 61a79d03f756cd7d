/**
 * Whether the daemon does its work: asked from outside of the code that does it, as its clients would. What is asked comes back
 * through the event loop, so a loop that is held up is seen, too.
 */
import { describeError } from '#core/errors.ts';
import { withDeadline } from '#core/operation.ts';
import { type SocketProbe, socketProbe } from '#cri/socket-probe.ts';
import type { StoreProbe } from './store-probe.ts';

/** How long an answer of the socket may take, in ms. A machine at its limit needs seconds. */
const ANSWER_MS = 20_000;

export interface LivenessParts {
  readonly socket: string;
  readonly store: Pick<StoreProbe, 'latest'>;
  readonly answerMs?: number;
}

export class Liveness implements Disposable {
  readonly #socket: string;
  readonly #store: LivenessParts['store'];
  readonly #probe: SocketProbe;
  readonly #answerMs: number;

  constructor({ socket, store, answerMs = ANSWER_MS }: LivenessParts) {
    this.#socket = socket;
    this.#store = store;
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
