/**
 * Errors that nobody has handled. Each is a bug of crisp; none of them may cost more than the work that it broke.
 *
 * An unhandled rejection has ended one chain of promises. Its locks are let go of (they are promises that settle either
 * way), what it has changed on the disk has its intent there, and memory follows committed records only: the state is
 * what it is after any failed call. It is logged with its stack, counted, and the daemon serves on.
 *
 * An uncaught exception was thrown by a callback of a socket, a timer or a stream. Node says that nothing is certain
 * after it; yet what crisp has to lose is a record half written, and those are written to a temporary file and renamed.
 * What breaks is the connection whose callback it was. To end here would let any client that finds such a byte cut all
 * sessions of the node, again and again, so the daemon serves on. But where they come in numbers it is no odd connection
 * but the daemon that is broken: it ends, and the service manager starts a new one, to which all pods and containers
 * belong as they belonged to this one. Nothing of this keeps a container from running.
 *
 * Until the daemon serves there is nothing to keep: a failure of the start ends it, as Node does by itself.
 */
import { describeError } from '#core/errors.ts';

type Kind = 'rejection' | 'exception';

interface Log {
  error(fields: object, message: string): void;
}

export interface BugOptions {
  readonly log: Log;
  /** Told of each. */
  readonly count: (kind: Kind) => void;
  /** Ends the process, with what the log holds back written. */
  readonly exit: () => void;
  /** Where the events come from. */
  readonly events?: Pick<NodeJS.Process, 'on' | 'off'>;
}

/** So many exceptions within so many ms are too many. */
const MOST_EXCEPTIONS = 20;
const WITHIN_MS = 60_000;
/** A stack is cut at this length: an error's message may hold what a client sent. */
const MOST_STACK = 8000;

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

  readonly #onRejection = (reason: unknown): void => this.#tell('rejection', reason);

  readonly #onException = (error: unknown): void => {
    this.#tell('exception', error);
    const now = performance.now();
    this.#exceptions = [...this.#exceptions.filter((at) => now - at < WITHIN_MS), now];
    if (this.#exceptions.length < MOST_EXCEPTIONS) return;
    const fields = { exceptions: this.#exceptions.length, seconds: WITHIN_MS / 1000 };
    this.#options.log.error(fields, 'too many bugs: the daemon ends, pods and containers run on');
    this.#options.exit();
  };

  #tell(kind: Kind, error: unknown): void {
    const stack = error instanceof Error ? error.stack?.slice(0, MOST_STACK) : undefined;
    const message = `bug: an ${kind} that nobody handles; report it with this line`;
    this.#options.log.error({ kind, error: describeError(error), stack }, message);
    this.#options.count(kind);
  }

  [Symbol.dispose](): void {
    this.#events.off('unhandledRejection', this.#onRejection);
    this.#events.off('uncaughtException', this.#onException);
  }
}
