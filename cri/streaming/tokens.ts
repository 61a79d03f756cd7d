import { randomBytes } from 'node:crypto';
import { CrispError } from '#core/errors.ts';

/** How long a token may wait for its use, in ms. */
const LIFETIME_MS = 60_000;
/** Tokens that may wait at once, as Kubernetes' own library has it. */
const MOST = 1000;

interface Entry<T> {
  readonly session: T;
  readonly expiresAt: number;
}

/** Tokens that open one session each, once. They live in memory: a restart of the daemon voids them. */
export class Tokens<T> {
  readonly #entries = new Map<string, Entry<T>>();
  readonly #now: () => number;

  /** `now`: milliseconds of a monotonic clock. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** A new token of 128 random bits, for URLs. Throws ResourceExhausted where too many wait. */
  issue(session: T): string {
    this.#expire();
    if (this.#entries.size >= MOST) {
      throw new CrispError('ResourceExhausted', `${MOST} streaming sessions were asked for and not opened`, {
        hint: `open them, or wait: each is void after ${LIFETIME_MS / 1000} s`,
      });
    }
    const token = randomBytes(16).toString('base64url');
    this.#entries.set(token, { session, expiresAt: this.#now() + LIFETIME_MS });
    return token;
  }

  /** What the token stands for; it is void from then on. Undefined for one that is unknown, used or too old. */
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
