/**
 * Unhandled errors. Each is a bug of crisp; none of them may cost more than the work that it broke.
 *
 * An unhandled rejection has ended one chain of promises. Its locks are released (they are promises that settle either
 * way), what it has changed on the disk has its intent there, and memory follows committed records only: the state is
 * what it is after any failed call. It is logged with its stack, counted, and the daemon serves on.
 *
 * An uncaught exception was thrown by a callback of a socket, a timer or a stream. Node guarantees nothing after it;
 * yet all that crisp could lose is a partly written record, and those are written to a temporary file and renamed.
 * What breaks is the connection whose callback it was. To exit here would let any client that finds such an input cut
 * all sessions of the node, again and again, so the daemon serves on. But many of them mean that the daemon itself is
 * broken, not one connection: it exits, and the service manager starts a new one, which manages all pods and containers
 * as this one did. Containers run on in every case.
 *
 * Until the daemon serves there is nothing to preserve: a failure of the start ends it, which is what Node does.
 */
import { describeError } from '#core/errors.ts';

type Kind = 'rejection' | 'exception';

interface Log {
  error(fields: object, message: string): void;
}

export interface BugOptions {
  readonly log: Log;
  /** Called with each. */
  readonly count: (kind: Kind) => void;
  /** Ends the process, after the log is flushed. */
  readonly exit: () => void;
  /** Where the events come from. */
  readonly events?: Pick<NodeJS.Process, 'on' | 'off'>;
}

/** The daemon exits at this number of exceptions within WITHIN_MS milliseconds. */
const MAX_EXCEPTIONS = 20;
const WITHIN_MS = 60_000;
/** Characters of a stack that are logged: an error's message may hold what a client sent. */
const MAX_STACK = 8000;

export class Bugs implements Disposable {
  readonly #options: BugOptions;
  readonly #events: Pick<NodeJS.Process, 'on' | 'off'>;
  #exceptions: number[] = [];

  /** From now on nothing unhandled ends the process. */
  constructor(options: BugOptions) {
    this.#options = options;
    this.#events = options.events ?? process;
    this.#events.on('unhandledRejection', this.#onRejection);
    this.#events.on('uncaughtException', this.#onException);
  }

  readonly #onRejection = (reason: unknown): void => this.#report('rejection', reason);

  readonly #onException = (error: unknown): void => {
    this.#report('exception', error);
    const now = performance.now();
    this.#exceptions = [...this.#exceptions.filter((at) => now - at < WITHIN_MS), now];
    if (this.#exceptions.length < MAX_EXCEPTIONS) return;
    const fields = { exceptions: this.#exceptions.length, seconds: WITHIN_MS / 1000 };
    this.#options.log.error(fields, 'too many bugs: the daemon ends, pods and containers run on');
    this.#options.exit();
  };

  #report(kind: Kind, error: unknown): void {
    const stack = error instanceof Error ? error.stack?.slice(0, MAX_STACK) : undefined;
    const message = `bug: an unhandled ${kind}; report it with this line`;
    this.#options.log.error({ kind, error: describeError(error), stack }, message);
    this.#options.count(kind);
  }

  [Symbol.dispose](): void {
    this.#events.off('unhandledRejection', this.#onRejection);
    this.#events.off('uncaughtException', this.#onException);
  }
}
