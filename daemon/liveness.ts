/**
 * Whether the daemon does its work: asked from outside of the code that does it, as its clients would. What is asked comes back
 * through the event loop, so a loop that is held up is seen, too.
 */
import { describeError } from '#core/errors.ts';
import { withDeadline } from '#core/operation.ts';
import { type SocketProbe, socketProbe } from '#cri/socket-probe.ts';
import type { Files } from '#linux/ports/kernel.ts';

/** How long each answer may take, in ms. A machine at its limit needs seconds. */
const ANSWER_MS = 20_000;

interface Check {
  /** For messages: what does not answer. */
  readonly name: string;
  /** Whether a new start of the daemon could mend it: only then may the service manager end it. */
  readonly restartHelps: boolean;
  readonly ask: (signal: AbortSignal) => Promise<unknown>;
}

export interface LivenessParts {
  readonly socket: string;
  /** Of records, images and writable layers. */
  readonly root: string;
  readonly files: Pick<Files, 'statfs'>;
  readonly answerMs?: number;
}

export class Liveness implements Disposable {
  readonly #probe: SocketProbe;
  readonly #checks: readonly Check[];
  readonly #answerMs: number;

  constructor({ socket, root, files, answerMs = ANSWER_MS }: LivenessParts) {
    this.#probe = socketProbe(socket);
    this.#answerMs = answerMs;
    this.#checks = [
      {
        name: `the socket ${socket}`,
        restartHelps: true,
        ask: (signal) => this.#probe.ask(signal),
      },
      // In a thread of libuv's pool; a disk that does not answer is none the better for a restart.
      { name: `the file system of ${root}`, restartHelps: false, ask: () => files.statfs(root) },
    ];
  }

  /** What does not answer, and why; undefined where all do. */
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

  async #problemOf({ name, ask }: Check): Promise<string | undefined> {
    const { signal } = new AbortController();
    try {
      await withDeadline(`answer of ${name}`, this.#answerMs, signal, ask);
      return undefined;
    } catch (error) {
      return `${name} does not answer: ${describeError(error)}`;
    }
  }

  [Symbol.dispose](): void {
    this.#probe[Symbol.dispose]();
  }
}
