import { randomBytes } from 'node:crypto';
import { CrispError } from '#core/errors.ts';

/** How long a token may be unused, in ms. */
const LIFETIME_MS = 60_000;
/** Maximum number of unused tokens, the same as in Kubernetes' streaming library. */
const MAX_PENDING = 1000;

interface Entry<T> {
  readonly session: T;
  readonly expiresAt: number;
}

/** Tokens that open one session each, once. They live in memory: a restart of the daemon invalidates them. */
export class Tokens<T> {
  readonly #entries = new Map<string, Entry<T>>();
  readonly #now: () => number;

  /** `now`: milliseconds of a monotonic clock. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** A new token of 128 random bits, for URLs. Throws ResourceExhausted if too many are unused. */
  issue(session: T): string {
    this.#expire();
    if (this.#entries.size >= MAX_PENDING) {
      throw new CrispError(
        'ResourceExhausted',
        `${MAX_PENDING} streaming sessions were requested and not opened`,
        {
          hint: `open them, or wait: each expires after ${LIFETIME_MS / 1000} s`,
        },
      );
    }
    const token = randomBytes(16).toString('base64url');
    this.#entries.set(token, { session, expiresAt: this.#now() + LIFETIME_MS });
    return token;
  }

  /** The session of the token, which is invalid afterwards. Undefined for one that is unknown, used or too old. */
  redeem(token: string): T | undefined {
    this.#expire();
    const entry = this.#entries.get(token);
    this.#entries.delete(token);
    return entry?.session;
  }

  /** The oldest come first: a map keeps the order of insertion. */
  #expire(): void {
    const now = this.#now();
    for (const [token, { expiresAt }] of this.#entries) {
      if (expiresAt > now) return;
      this.#entries.delete(token);
    }
  }
}
