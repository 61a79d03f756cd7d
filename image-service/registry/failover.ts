import { setTimeout as sleep } from 'node:timers/promises';
import { combineFailures } from './combine-failures.ts';
import type { Endpoint } from './endpoint.ts';
import type { ContentKind, EndpointHealth } from './endpoint-health.ts';
import type { Response } from './exchange.ts';
import { RegistryFailure } from './failure.ts';
import { Heads } from './heads.ts';
import { type FailedEndpoint, failedEndpoint } from './served.ts';

const FIRST_BACKOFF_MS = 200;
/** Only tries with less progress than this count; a long transfer over a bad line may be resumed many times. */
const PROGRESS = 1 << 20;

/** One piece of content, in two steps: several endpoints may be asked at once, and the content is taken from one. */
export interface ContentRequest<T> {
  /** What is requested, for messages: `manifest v1 of reg.example/app`. */
  readonly stage: string;
  readonly kind: ContentKind;
  /** Until the head of a response that promises the content. Throws RegistryFailure. */
  open(endpoint: Endpoint, what: string, signal: AbortSignal): Promise<Response>;
  /** Takes the content; never called twice at once. Throws RegistryFailure. */
  take(endpoint: Endpoint, response: Response, what: string, signal: AbortSignal): Promise<T>;
  /** Bytes that are there, also after a failure. */
  readonly progress?: () => number;
}

export interface FailoverOptions {
  /** Tries per endpoint: the first and its retries. */
  readonly attempts: number;
  /** Longest wait between two tries, in ms. */
  readonly retryWaitMs: number;
  /** How long an endpoint's reply is waited for before the next endpoint is asked as well, in ms. */
  readonly patienceMs: (endpoint: Endpoint) => number;
}

/** The tries at one endpoint. */
interface Tries {
  readonly endpoint: Endpoint;
  count: number;
  /** Of `performance.now()`. */
  notBefore: number;
  failure: RegistryFailure | undefined;
  done: boolean;
}

/**
 * Requests one piece of content of the endpoints in their order. Whatever the failure of one, the next is asked at once;
 * only when all have failed those whose failure may pass are asked again, after their `Retry-After` or a doubling wait.
 * Returns the content, the endpoint that served it and those that did not. Throws the failures of all as one error.
 */
export async function failover<T>(
  endpoints: readonly Endpoint[],
  request: ContentRequest<T>,
  options: FailoverOptions,
  health: EndpointHealth,
  signal: AbortSignal,
): Promise<{ readonly value: T; readonly endpoint: Endpoint; readonly failed: readonly FailedEndpoint[] }> {
  const all = endpoints.map((endpoint): Tries => {
    return { endpoint, count: 0, notBefore: 0, failure: undefined, done: false };
  });
  const mute = new Set<Endpoint>();
  let reached = request.progress?.() ?? 0;
  const fail = (endpoint: Endpoint, failure: RegistryFailure): void => {
    const tries = all.find((one) => one.endpoint === endpoint);
    if (!tries) return;
    const progress = request.progress?.() ?? 0;
    if (progress >= reached + PROGRESS) for (const one of all) one.count = 0;
    reached = Math.max(reached, progress);
    record(tries, failure, options);
    if (isOfEndpoint(failure)) health.failed(endpoint, request.kind, failure.retryAfterMs);
  };
  for (;;) {
    signal.throwIfAborted();
    const open = all.filter(({ done }) => !done);
    if (open.length === 0) {
      const failures = all.flatMap(({ failure }) => failure ?? []);
      throw combineFailures(request.stage, failures);
    }
    const first = Math.min(...open.map(({ notBefore }) => notBefore));
    const wait = first - performance.now();
    if (wait > 0) await sleep(wait, undefined, { signal }).catch(() => Promise.reject(signal.reason));
    const due = open.filter(({ notBefore }) => notBefore <= Math.max(first, performance.now()));
    const order = health.order(
      due.map(({ endpoint }) => endpoint),
      request.kind,
    );
    const { patienceMs } = options;
    const served = await round(order, request, { fail, mute, health, patienceMs }, signal);
    if (served) return { ...served, failed: causes(all, served.endpoint, mute, request, options) };
  }
}

interface RoundContext {
  readonly patienceMs: (endpoint: Endpoint) => number;
  readonly health: EndpointHealth;
  fail(endpoint: Endpoint, failure: RegistryFailure): void;
  /** Gets those whose reply was not waited for. */
  readonly mute: Set<Endpoint>;
}

/** Why the others have not served it. */
function causes(
  all: readonly Tries[],
  served: Endpoint,
  mute: ReadonlySet<Endpoint>,
  { stage }: Pick<ContentRequest<unknown>, 'stage'>,
  { patienceMs }: FailoverOptions,
): FailedEndpoint[] {
  return all.flatMap(({ endpoint, failure }) => {
    if (endpoint === served) return [];
    if (failure) return [failedEndpoint(endpoint, `${stage} from ${endpoint.url}`, failure.message)];
    return mute.has(endpoint)
      ? [{ endpoint: endpoint.url, cause: `no reply within ${patienceMs(endpoint) / 1000} s` }]
      : [];
  });
}

/** Asks each endpoint once. Undefined where all have failed. */
async function round<T>(
  endpoints: readonly Endpoint[],
  request: ContentRequest<T>,
  { fail, health, mute, patienceMs }: RoundContext,
  signal: AbortSignal,
): Promise<{ value: T; endpoint: Endpoint } | undefined> {
  const nameOf = ({ url }: Endpoint): string => `${request.stage} from ${url}`;
  using heads = new Heads(endpoints, patienceMs, signal, (endpoint, aborted) =>
    request.open(endpoint, nameOf(endpoint), aborted),
  );
  for (;;) {
    const head = await heads.next(fail);
    if (!head) return undefined;
    const { endpoint, response } = head;
    // What has not replied in its time has failed, though it may be asked again.
    for (const late of heads.putBack()) {
      mute.add(late);
      health.failed(late, request.kind);
    }
    try {
      const value = await request.take(endpoint, response, nameOf(endpoint), head.signal);
      health.succeeded(endpoint, request.kind);
      return { value, endpoint };
    } catch (error) {
      head.close();
      if (signal.aborted || !(error instanceof RegistryFailure)) throw error;
      fail(endpoint, error);
    }
  }
}

function record(tries: Tries, failure: RegistryFailure, options: FailoverOptions): void {
  const { retryAfterMs = 0, transient } = failure;
  tries.failure = failure;
  tries.count++;
  tries.done = !transient || retryAfterMs > options.retryWaitMs || tries.count >= options.attempts;
  const backoff = FIRST_BACKOFF_MS * 2 ** (tries.count - 1) * (0.75 + Math.random() / 2);
  const wait = failure.retryAfterMs ?? Math.min(backoff, options.retryWaitMs);
  tries.notBefore = performance.now() + wait;
}

/** Whether the endpoint itself is at fault: that it lacks content or refuses these credentials says nothing of the next pull. */
const isOfEndpoint = ({ code }: RegistryFailure): boolean =>
  code !== 'NotFound' && code !== 'Unauthenticated' && code !== 'PermissionDenied';
