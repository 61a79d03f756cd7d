import type { Endpoint } from './endpoint.ts';

/** What is asked of an endpoint: a mirror may have manifests while its store of blobs is down. */
export type ContentKind = 'manifests' | 'blobs';

/** How long an endpoint that failed is asked last, in ms. */
const AWAY_MS = 60_000;
/** The same for one that itself requested to wait, in ms. */
const MAX_AWAY_MS = 600_000;
/** Endpoints remembered; beyond it the oldest are forgotten. */
const LIMIT = 1024;

/** Endpoints that failed, the oldest first: base and kind, and until when they are asked last, in ms of the monotonic clock. */
export type FailedEndpoints = readonly (readonly [key: string, until: number])[];

/** The monotonic clock, in ms: it is the same in all threads. */
const monotonic = (): number => Number(process.hrtime.bigint() / 1_000_000n);

export interface HealthOptions {
  /** What another thread has found out. */
  readonly known?: FailedEndpoints;
  /** Called with all that is known, at each change. */
  readonly changed?: (failed: FailedEndpoints) => void;
  /** A clock in ms that never goes back. */
  readonly now?: () => number;
}

/** Which endpoints failed lately, over all pulls. They are asked after the others, and never left out. */
export class EndpointHealth {
  readonly #now: () => number;
  readonly #changed: (failed: FailedEndpoints) => void;
  readonly #away: Map<string, number>;

  constructor({ known = [], changed = () => {}, now = monotonic }: HealthOptions = {}) {
    this.#now = now;
    this.#changed = changed;
    this.#away = new Map(known);
  }

  failed(endpoint: Pick<Endpoint, 'base'>, kind: ContentKind, retryAfterMs = 0): void {
    const key = keyOf(endpoint, kind);
    this.#away.delete(key);
    this.#away.set(key, this.#now() + Math.min(Math.max(AWAY_MS, retryAfterMs), MAX_AWAY_MS));
    const [oldest] = this.#away.keys();
    if (this.#away.size > LIMIT && oldest !== undefined) this.#away.delete(oldest);
    this.#changed([...this.#away]);
  }

  succeeded(endpoint: Pick<Endpoint, 'base'>, kind: ContentKind): void {
    if (this.#away.delete(keyOf(endpoint, kind))) this.#changed([...this.#away]);
  }

  /** The endpoints in their order, those that failed lately last. */
  order<E extends Pick<Endpoint, 'base'>>(endpoints: readonly E[], kind: ContentKind): E[] {
    const isAway = (endpoint: E): boolean => (this.#away.get(keyOf(endpoint, kind)) ?? 0) > this.#now();
    const last = endpoints.filter(isAway);
    return [...endpoints.filter((endpoint) => !last.includes(endpoint)), ...last];
  }
}

const keyOf = ({ base }: Pick<Endpoint, 'base'>, kind: ContentKind): string => `${kind} ${base}`;
