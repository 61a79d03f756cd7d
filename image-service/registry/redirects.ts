import type { Endpoint } from './endpoint.ts';
import { discard, exchange, failureOf, type HttpRequest, header, type Response } from './exchange.ts';
import { failureElsewhere, RegistryFailure } from './failure.ts';

const REDIRECTS = 5;
/** A range beyond the end: the transfer restarts. */
const UNSATISFIABLE = 416;
const FOLLOWED = new Set([301, 302, 303, 307, 308]);

/**
 * Makes a GET and follows redirects, at most five and never from https to http. A 401 that this returns is the
 * endpoint's own: the challenge of another origin is never handled, as the credentials are not for that origin. Once a
 * redirect has left the endpoint, requests redirected back to it are sent without the credentials (Fetch Standard,
 * HTTP-redirect fetch): another host has chosen their address. Throws RegistryFailure.
 */
export async function get(endpoint: Endpoint, request: HttpRequest, signal: AbortSignal): Promise<Response> {
  let url = new URL(request.url);
  let own = true;
  for (let hops = 0; ; hops++) {
    own &&= url.origin === endpoint.origin;
    const headers =
      own && request.authorization
        ? { ...request.headers, authorization: request.authorization }
        : request.headers;
    const response = await exchange(endpoint, url, { headers }, request, signal);
    if (!FOLLOWED.has(response.statusCode)) {
      if (own || response.statusCode < 400 || response.statusCode === UNSATISFIABLE) return response;
      throw failureElsewhere(await failureOf(response, `${request.what}, redirected to ${url.origin}`));
    }
    await discard(response);
    const next = URL.parse(header(response, 'location') ?? '', url.href);
    if (!next || !/^https?:$/.test(next.protocol)) {
      throw new RegistryFailure('FailedPrecondition', `${request.what}: a redirect without a valid location`);
    }
    if (url.protocol === 'https:' && next.protocol === 'http:') {
      throw new RegistryFailure(
        'FailedPrecondition',
        `${request.what}: a redirect from https down to http://${next.host}`,
      );
    }
    if (hops === REDIRECTS)
      throw new RegistryFailure('FailedPrecondition', `${request.what}: more than ${REDIRECTS} redirects`);
    next.username = '';
    next.password = '';
    url = next;
  }
}
