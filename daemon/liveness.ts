/**
 * Whether the daemon does its work: asked from outside of the code that does it, as its clients would. What is asked comes back
 * through the event loop, so a loop that is held up is seen, too.
 */
import { describeError } from '#core/errors.ts';
import { withDeadline } from '#core/operation.ts';
import { type SocketProbe, socketProbe } from '#cri/socket-probe.ts';
import type { StoreProbe } from './store-probe.ts';

/** How long each answer may take, in ms. A machine at its limit needs seconds. */
const ANSWER_MS = 20_000;

interface Check {
  /** For messages: what fails, and how. */
  readonly name: string;
  readonly fails: string;
  /** Whether a new start of the daemon could mend it: only then may the service manager end it. */
  readonly restartHelps: boolean;
  readonly ask: (signal: AbortSignal) => Promise<unknown>;
}

export interface LivenessParts {
  readonly socket: string;
  readonly store: Pick<StoreProbe, 'check'>;
  readonly answerMs?: number;
}

export class Liveness implements Disposable {
  readonly #probe: SocketProbe;
  readonly #checks: readonly Check[];
  readonly #answerMs: number;

  constructor({ socket, store, answerMs = ANSWER_MS }: LivenessParts) {
    this.#probe = socketProbe(socket);
    this.#answerMs = answerMs;
    this.#checks = [
      {
        name: `the socket ${socket}`,
        fails: 'does not answer',
        restartHelps: true,
        ask: (signal) => this.#probe.ask(signal),
      },
      // A disk is none the better for a restart.
      {
        name: 'the root directory',
        fails: 'cannot be written',
        restartHelps: false,
        ask: () => store.check(),
      },
    ];
  }

  /** What fails, and why; undefined where nothing does. */
  async problem(): Promise<string | undefined> {
    return this.#ask(this.#checks);
  }

  /** The same, of what a restart could mend. */
  async curable(): Promise<string | undefined> {
    return this.#ask(this.#checks.filter(({ restartHelps }) => restartHelps));
  }

  async #ask(checks: readonly Check[]): Promise<string | undefined> {
    const problems = await Promise.all(checks.map((check) => this.#problemOf(check)));
    return problems.filter((problem) => problem !== undefined).join('; ') || undefined;
  }

  async #problemOf({ name, fails, ask }: Check): Promise<string | undefined> {
    const { signal } = new AbortController();
    try {
      await withDeadline(`answer of ${name}`, this.#answerMs, signal, ask);
      return undefined;
    } catch (error) {
      return `${name} ${fails}: ${describeError(error)}`;
    }
  }

  [Symbol.dispose](): void {
    this.#probe[Symbol.dispose]();
  }
}
