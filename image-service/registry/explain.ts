/** What a pull would ask, and of whom: for people, so without secrets. */
import { describeError } from '#core/errors.ts';
import type { Reference } from '../image/reference.ts';
import { parseChallenges } from './challenge.ts';
import type { Endpoint } from './endpoint.ts';
import { mayAsk, requestUrl } from './endpoint-url.ts';
import { discard, exchange, header } from './exchange.ts';
import { trustInDirectories } from './http/certificate-directories.ts';
import type { Proxies } from './http/proxies.ts';
import type { Trust } from './http/tls-settings.ts';
import type { Transport } from './http/transport.ts';

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
  /** Address and setting, or the setting's fault; undefined: none. */
  readonly proxy: string | undefined;
  /** The files of authorities, or the fault of one; undefined by http. */
  readonly authorities: string | undefined;
  /** Accepts any certificate. */
  readonly skipVerify: boolean;
  /** The files of client certificates. */
  readonly clientCertificates: readonly string[];
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
  credentials(endpoint: Endpoint): Promise<string | undefined>;
  readonly proxies: Proxies;
  readonly trust: Trust;
  /** Directories of certificates. */
  readonly directories: readonly string[];
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
      credentials: await parts.credentials(endpoint),
      proxy: orFault(() => proxyOf(endpoint, parts.proxies)),
      ...trustOf(endpoint, parts),
      headers: Object.keys(endpoint.headers),
      dialTimeoutMs: endpoint.dialTimeoutMs,
      answer: ping ? await answerOf(endpoint, parts.transport, signal) : undefined,
    })),
  );
}

function proxyOf({ origin }: Endpoint, proxies: Proxies): string | undefined {
  const proxy = proxies.of(new URL(origin));
  return proxy && `${proxy.name} (${proxy.source})`;
}

function trustOf(
  { origin, host, trust }: Endpoint,
  parts: ExplainParts,
): Pick<ExplainedEndpoint, 'authorities' | 'skipVerify' | 'clientCertificates'> {
  const { skipVerify } = trust;
  if (origin.startsWith('http:')) return { authorities: undefined, skipVerify, clientCertificates: [] };
  const authorities = orFault(() => parts.trust.of(host, trust).authorities);
  let { clientCertificates } = trust;
  orFault(() => {
    clientCertificates = [
      ...clientCertificates,
      ...trustInDirectories(parts.directories, host).clientCertificates,
    ];
  });
  return { authorities, skipVerify, clientCertificates: clientCertificates.map(({ certFile }) => certFile) };
}

/** The message of a fault in its place. */
function orFault<T>(act: () => T): T | string {
  try {
    return act();
  } catch (error) {
    return describeError(error);
  }
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
