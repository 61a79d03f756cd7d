/** What a pull would ask, and of whom: for people, so without secrets. */
import { describeError } from '#core/errors.ts';
import type { Reference } from '../image/reference.ts';
import { parseChallenges } from './challenge.ts';
import type { Endpoint } from './endpoint.ts';
import { mayAsk, requestUrl } from './endpoint-url.ts';
import { discard, exchange, header } from './exchange.ts';
import type { Transport } from './http/transport.ts';
import type { HostTrust } from './http/trust.ts';

/** Limit of the answer to a ping, in ms. */
const PING_MS = 10_000;

export interface ExplainedEndpoint {
  /** Of the manifest. */
  readonly url: string;
  /** `file:line`, or `default`. */
  readonly source: string;
  /** Whether tags may be asked there. */
  readonly resolves: boolean;
  /** Whether manifests by digest and blobs may be asked there. */
  readonly serves: boolean;
  /** The scope that a token is requested for, unless the endpoint's challenge names another. */
  readonly scope: string;
  /** File and key of the credentials; undefined: anonymous, or those of the pod. */
  readonly credentials: string | undefined;
  /** Address and setting; undefined: none. */
  readonly proxy: string | undefined;
  readonly trust: HostTrust;
  /** The names of configured headers, whose values may be secrets. */
  readonly headers: readonly string[];
  readonly dialTimeoutMs: number | undefined;
  readonly answer: PingAnswer | undefined;
}

export interface ExplainedPull {
  /** In the order in which they are asked. */
  readonly endpoints: readonly ExplainedEndpoint[];
  /** Places that configure the registry, too, and do not count: `file:line`. */
  readonly unused: readonly string[];
}

export interface PingAnswer {
  readonly ms: number;
  /** HTTP status; undefined where there is no answer. */
  readonly status: number | undefined;
  /** Challenges with their realms; undefined where no login is required. */
  readonly login: string | undefined;
  readonly error: string | undefined;
}

/** What knows how requests are made. */
export interface ExplainParts {
  credentials(endpoint: Endpoint): string | undefined;
  proxy(url: URL): string | undefined;
  /** That of the endpoint, with what directories of certificates add. */
  trust(endpoint: Endpoint): HostTrust;
  readonly transport: Transport;
}

export function explainEndpoints(
  { tag, digest }: Pick<Reference, 'tag' | 'digest'>,
  endpoints: readonly Endpoint[],
  parts: ExplainParts,
  { ping, signal }: { readonly ping: boolean; readonly signal: AbortSignal },
): Promise<ExplainedEndpoint[]> {
  const content = `manifests/${digest ?? tag ?? 'latest'}`;
  return Promise.all(
    endpoints.map(async (endpoint) => ({
      url: requestUrl(endpoint, content),
      source: endpoint.source,
      resolves: mayAsk(endpoint, 'manifests/latest'),
      serves: endpoint.serves,
      scope: `repository:${endpoint.repository}:pull`,
      credentials: parts.credentials(endpoint),
      proxy: parts.proxy(new URL(endpoint.origin)),
      trust: parts.trust(endpoint),
      headers: Object.keys(endpoint.headers),
      dialTimeoutMs: endpoint.dialTimeoutMs,
      answer: ping ? await answerOf(endpoint, parts.transport, signal) : undefined,
    })),
  );
}

/** Asks the root of the API, without credentials. */
async function answerOf(
  endpoint: Endpoint,
  transport: Transport,
  cancelled: AbortSignal,
): Promise<PingAnswer> {
  const started = performance.now();
  const elapsed = () => Math.round(performance.now() - started);
  const signal = AbortSignal.any([cancelled, AbortSignal.timeout(PING_MS)]);
  try {
    const context = { what: `ping of ${endpoint.url}`, transport };
    const headers = endpoint.headers;
    const response = await exchange(endpoint, new URL(`${endpoint.base}/`), { headers }, context, signal);
    const ms = elapsed();
    const challenges = parseChallenges(header(response, 'www-authenticate') ?? '');
    const login = challenges.map(({ scheme, parameters }) =>
      `${scheme} ${originOf(parameters.get('realm'))}`.trim(),
    );
    await discard(response);
    return { ms, status: response.statusCode, login: login.join(', ') || undefined, error: undefined };
  } catch (error) {
    if (cancelled.aborted) throw cancelled.reason;
    const late = signal.aborted ? `no answer in ${PING_MS / 1000} s` : describeError(error);
    return { ms: elapsed(), status: undefined, login: undefined, error: late };
  }
}

/** A realm without query and login; the text of a realm that is not a URL is not repeated. */
function originOf(realm: string | undefined): string {
  const url = URL.parse(realm ?? '');
  return url ? url.origin + url.pathname : '';
}
