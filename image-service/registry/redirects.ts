import type { Endpoint } from './endpoint.ts';
import { discard, exchange, failureOf, type HttpRequest, header, type Response } from './exchange.ts';
import { failureElsewhere, RegistryFailure } from './failure.ts';

const REDIRECTS = 5;
/** A range beyond the end: the transfer restarts. */
const UNSATISFIABLE = 416;
const FOLLOWED = new Set([301, 302, 303, 307, 308]);

export interface FollowedRequest extends Omit<HttpRequest, 'url'> {
  readonly url: URL;
  readonly method?: 'GET' | 'HEAD';
  /** Whether the content is verified by a digest that the caller has: only then is a redirect from https to http followed. */
  readonly verified: boolean;
}

/**
 * Makes a request and follows redirects, at most five. A 401 that this returns is the endpoint's own: the challenge of
 * another origin is never handled, as the credentials are not for that origin. Once a redirect has left the endpoint,
 * requests redirected back to it are sent without the credentials and its configured headers (Fetch Standard,
 * HTTP-redirect fetch): another host has chosen their address. Throws RegistryFailure.
 */
export async function follow(
  endpoint: Endpoint,
  request: FollowedRequest,
  signal: AbortSignal,
): Promise<Response> {
  const { method = 'GET' } = request;
  let { url } = request;
  let own = true;
  for (let hops = 0; ; hops++) {
    own &&= url.origin === endpoint.origin;
    const headers = own ? ownHeaders(endpoint, request) : request.headers;
    const response = await exchange(endpoint, url, { method, headers }, request, signal);
    if (!FOLLOWED.has(response.statusCode)) {
      if (own || response.statusCode < 400 || response.statusCode === UNSATISFIABLE) return response;
      throw failureElsewhere(await failureOf(response, `${request.what}, redirected to ${url.origin}`));
    }
    await discard(response);
    const next = locationOf(response, url, request);
    if (hops === REDIRECTS)
      throw new RegistryFailure('FailedPrecondition', `${request.what}: more than ${REDIRECTS} redirects`);
    url = next;
  }
}

const ownHeaders = (endpoint: Endpoint, request: FollowedRequest): Record<string, string> => ({
  ...request.headers,
  ...endpoint.headers,
  ...(request.authorization === undefined ? {} : { authorization: request.authorization }),
});

/** Where a redirect leads: to http or https, and to http only where that is as safe. Throws RegistryFailure. */
function locationOf(response: Response, from: URL, { what, verified }: FollowedRequest): URL {
  const next = URL.parse(header(response, 'location') ?? '', from.href);
  if (!next || !/^https?:$/.test(next.protocol))
    throw new RegistryFailure('FailedPrecondition', `${what}: a redirect without a valid location`);
  if (from.protocol === 'https:' && next.protocol === 'http:' && !verified) {
    throw new RegistryFailure(
      'FailedPrecondition',
      `${what}: a redirect from https down to http://${next.host}`,
      { hint: 'pull by digest, which verifies the content, or let the registry redirect to https' },
    );
  }
  next.username = '';
  next.password = '';
  return next;
}
