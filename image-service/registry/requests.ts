import type { Authorizer, Party } from './auth.ts';
import type { Endpoint } from './endpoint.ts';
import { requestUrl } from './endpoint-url.ts';
import { discard, exchange, failureOf, header, type Response } from './exchange.ts';
import type { Transport } from './http/transport.ts';
import { follow } from './redirects.ts';

/** A request below an endpoint's repository. */
export interface ContentQuery {
  /** `manifests/v1`. */
  readonly path: string;
  readonly method?: 'GET' | 'HEAD';
  readonly headers: Readonly<Record<string, string>>;
  /** Stage, content and endpoint, for errors. */
  readonly what: string;
  /** Whether the content is verified by a digest that the caller has: then a redirect may lead to plain http. */
  readonly verified: boolean;
}

/** Requests to endpoints, with the authorization that each requires. */
export class ContentRequests {
  readonly #transport: Transport;
  readonly #authorizer: Authorizer;
  /** The challenges at `/v2/` of endpoints that make none at the content itself. */
  readonly #challenges = new Map<Endpoint, Promise<string | undefined>>();

  constructor(transport: Transport, authorizer: Authorizer) {
    this.#transport = transport;
    this.#authorizer = authorizer;
  }

  /** Sends it with the known authorization, and again with the one that the endpoint requires. Throws RegistryFailure. */
  async send(endpoint: Endpoint, query: ContentQuery, signal: AbortSignal): Promise<Response> {
    const party = partyOf(endpoint);
    const url = new URL(requestUrl(endpoint, query.path));
    const request = { ...query, url, transport: this.#transport };
    for (let tries = 1; ; tries++) {
      const authorization = await this.#authorizer.header(party, signal);
      const response = await follow(endpoint, { ...request, authorization }, this.#authorizer, signal);
      const isRefused = [401, 403, 404].includes(response.statusCode);
      if (!isRefused || (response.statusCode !== 401 && authorization !== undefined)) return response;
      if (tries > 2) return response;
      const challenge = await this.#challengeOf(endpoint, response, query.what, signal);
      if (challenge === undefined && response.statusCode !== 401) return response;
      const outcome = await this.#authorizer.handleChallenge(
        party,
        challenge,
        authorization,
        query.what,
        signal,
      );
      if (!outcome.retry) {
        if (outcome.reasons.length === 0) return response;
        throw (await failureOf(response, query.what)).because(...outcome.reasons);
      }
      await discard(response);
    }
  }

  /** That of the response, or, as some registries make it only there, that of `/v2/`; undefined where neither has one. */
  async #challengeOf(
    endpoint: Endpoint,
    response: Response,
    what: string,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const own = response.statusCode === 401 ? header(response, 'www-authenticate') : undefined;
    if (own !== undefined) return own;
    const known = this.#challenges.get(endpoint);
    if (known) {
      try {
        return await known;
      } catch {
        signal.throwIfAborted(); // else only the request that had asked was given up
      }
    }
    const asking = this.#ask(endpoint, what, signal);
    this.#challenges.set(endpoint, asking);
    asking.catch(() => {
      if (this.#challenges.get(endpoint) === asking) this.#challenges.delete(endpoint);
    });
    return asking;
  }

  async #ask(endpoint: Endpoint, what: string, signal: AbortSignal): Promise<string | undefined> {
    const context = { what, transport: this.#transport };
    try {
      const url = new URL(`${endpoint.base}/`);
      const response = await exchange(endpoint, url, { headers: endpoint.headers }, context, signal);
      await discard(response);
      return response.statusCode === 401 ? header(response, 'www-authenticate') : undefined;
    } catch {
      signal.throwIfAborted();
      return undefined; // the reply that is there says more
    }
  }
}

const partyOf = (endpoint: Endpoint): Party => {
  const { origin, credentialHost, repository } = endpoint;
  return { origin, credentialHost, repository, scope: `repository:${repository}:pull`, via: endpoint };
};
