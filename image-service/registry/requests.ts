import type { Authorizer } from './auth.ts';
import type { Endpoint } from './endpoint.ts';
import { requestUrl } from './endpoint-url.ts';
import { discard, header, type Response } from './exchange.ts';
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

  constructor(transport: Transport, authorizer: Authorizer) {
    this.#transport = transport;
    this.#authorizer = authorizer;
  }

  /** Sends it with the known authorization, and again with the one that the endpoint requires. Throws RegistryFailure. */
  async send(endpoint: Endpoint, query: ContentQuery, signal: AbortSignal): Promise<Response> {
    const scope = `repository:${endpoint.repository}:pull`;
    const url = new URL(requestUrl(endpoint, query.path));
    const headers = { ...query.headers };
    for (let tries = 1; ; tries++) {
      const authorization = this.#authorizer.header(endpoint, scope);
      const request = { ...query, headers, url, authorization, transport: this.#transport };
      const response = await follow(endpoint, request, signal);
      if (response.statusCode !== 401 || tries > 2) return response;
      const challenge = header(response, 'www-authenticate');
      if (!(await this.#authorizer.handleChallenge(endpoint, scope, challenge, authorization)))
        return response;
      await discard(response);
    }
  }
}
