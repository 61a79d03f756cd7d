import type { Authorizer } from './auth.ts';
import { credentialHost } from './config/address.ts';
import type { Endpoint } from './endpoint.ts';
import {
  discard,
  exchange,
  failureOf,
  type HttpRequest,
  header,
  isRedirect,
  locationOf,
  type Response,
} from './exchange.ts';
import { failureElsewhere, RegistryFailure } from './failure.ts';

const REDIRECTS = 5;
/** A range beyond the end: the transfer restarts. */
const UNSATISFIABLE = 416;

export interface FollowedRequest extends Omit<HttpRequest, 'url'> {
  readonly url: URL;
  readonly method?: 'GET' | 'HEAD';
  /** Whether the content is verified by a digest that the caller has: only then is a redirect from https to http followed. */
  readonly verified: boolean;
}

/**
 * Makes a request and follows redirects, at most five. A 401 that this returns is the endpoint's own: one of another origin is
 * answered as that origin requires, by its own credentials or anonymously, and never by those of the endpoint. Once a
 * redirect has left the endpoint, requests redirected back to it are sent without the credentials and its configured
 * headers (Fetch Standard, HTTP-redirect fetch): another host has chosen their address. Throws RegistryFailure.
 */
export async function follow(
  endpoint: Endpoint,
  request: FollowedRequest,
  authorizer: Authorizer,
  signal: AbortSignal,
): Promise<Response> {
  const { method = 'GET' } = request;
  let { url } = request;
  let own = true;
  for (let hops = 0; ; hops++) {
    own &&= url.origin === endpoint.origin;
    const headers = own ? ownHeaders(endpoint, request) : request.headers;
    const response = own
      ? await exchange(endpoint, url, { method, headers }, request, signal)
      : await exchangeElsewhere(endpoint, url, request, authorizer, signal);
    if (!isRedirect(response.statusCode)) {
      if (own || response.statusCode < 400 || response.statusCode === UNSATISFIABLE) return response;
      throw failureElsewhere(await failureOf(response, elsewhere(request, url)));
    }
    await discard(response);
    const next = targetOf(response, url, request);
    if (hops === REDIRECTS) throw badRedirect(`${request.what}: more than ${REDIRECTS} redirects`);
    url = next;
  }
}

const elsewhere = ({ what }: FollowedRequest, { origin }: URL): string => `${what}, redirected to ${origin}`;

/** A request to the target of a redirect: without a login, and once more with the one that it requires itself. */
async function exchangeElsewhere(
  endpoint: Endpoint,
  url: URL,
  request: FollowedRequest,
  authorizer: Authorizer,
  signal: AbortSignal,
): Promise<Response> {
  const { method = 'GET', headers } = request;
  const what = elsewhere(request, url);
  const context = { ...request, what };
  const response = await exchange(endpoint, url, { method, headers }, context, signal);
  if (response.statusCode !== 401 || url.origin === endpoint.origin) return response;
  const { origin, host } = url;
  const party = {
    origin,
    credentialHost: credentialHost(host),
    repository: undefined,
    scope: '',
    via: endpoint,
  };
  const challenge = header(response, 'www-authenticate');
  try {
    const outcome = await authorizer.handleChallenge(party, challenge, undefined, what, signal);
    if (!outcome.retry) return response;
  } catch (error) {
    throw error instanceof RegistryFailure ? failureElsewhere(error) : error;
  }
  await discard(response);
  const authorization = await authorizer.header(party, signal);
  const authorized = { ...headers, ...(authorization === undefined ? {} : { authorization }) };
  return exchange(endpoint, url, { method, headers: authorized }, context, signal);
}

const badRedirect = (message: string): RegistryFailure =>
  new RegistryFailure('FailedPrecondition', message, {
    hint: 'check that this is an OCI registry, and what it redirects to',
  });

const ownHeaders = (endpoint: Endpoint, request: FollowedRequest): Record<string, string> => ({
  ...request.headers,
  ...endpoint.headers,
  ...(request.authorization === undefined ? {} : { authorization: request.authorization }),
});

/** Where a redirect leads: to http or https, and to http only where that is as safe. Throws RegistryFailure. */
function targetOf(response: Response, from: URL, { what, verified }: FollowedRequest): URL {
  const next = locationOf(response, from);
  if (!next) throw badRedirect(`${what}: a redirect without a valid location`);
  if (from.protocol === 'https:' && next.protocol === 'http:' && !verified) {
    throw new RegistryFailure(
      'FailedPrecondition',
      `${what}: a redirect from https down to http://${next.host}`,
      { hint: 'pull by digest, which verifies the content, or let the registry redirect to https' },
    );
  }
  return next;
}
