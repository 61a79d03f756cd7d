/**
 * The replies of one client that are encoded at a time: a client that asks for many long ones and takes none of them would else
 * fill the memory.
 */

/** At a time; each is soon done where the client takes what it asked for. */
const AT_ONCE = 8;
/** Bytes of replies that the client has not taken, from which on none is encoded. */
const MAX_QUEUED = 1 << 26;

export class ReplyTurns {
  readonly #queued: () => number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  /** `queued`: bytes of replies that the client has not taken. */
  constructor(queued: () => number) {
    this.#queued = queued;
  }

  /** Settles when a reply may be encoded; undefined where it may at once. `done` ends each turn. */
  next(): Promise<void> | undefined {
    if (this.#waiting.length === 0 && this.#hasRoom()) {
      this.#running += 1;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  done(): void {
    this.#running -= 1;
    this.proceed();
  }

  /** To be called when the client has taken something. */
  proceed(): void {
    while (this.#waiting.length > 0 && this.#hasRoom()) {
      this.#running += 1;
      this.#waiting.shift()?.();
    }
  }

  #hasRoom(): boolean {
    return this.#running < AT_ONCE && this.#queued() <= MAX_QUEUED;
  }
}
