/**
 * The API server: plain requests with the credentials of a kubeconfig, as the JSON that the server sends. The client's generated classes
 * drop the fields that they do not know; a newer cluster has some.
 */
import { HttpMethod, type KubeConfig, RequestContext } from '@kubernetes/client-node';
import { fetch, type Response } from 'undici';

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Request {
  readonly query?: Query;
  readonly body?: unknown;
  /** `application/json`, or the kind of a patch. */
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

/** A refusal of the API server. `message` has the request, the code and the server's own words. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /** The HTTP status: 403 for what admission or RBAC forbids, 404, 409, 422 for what is invalid. */
  readonly code: number;
  /** The server's words alone. */
  readonly detail: string;

  constructor(request: string, code: number, detail: string) {
    super(`${request}: ${code} ${detail}`);
    this.code = code;
    this.detail = detail;
  }
}

/** Of a whole request and its reply; a stream may take longer. */
const REQUEST_MS = 60_000;

export const MERGE_PATCH = 'application/merge-patch+json';
export const STRATEGIC_PATCH = 'application/strategic-merge-patch+json';

export class Rest {
  readonly config: KubeConfig;
  readonly #server: string;

  constructor(config: KubeConfig) {
    this.config = config;
    this.#server = config.getCurrentCluster()?.server.replace(/\/+$/, '') ?? '';
  }

  /** The reply's JSON. Throws ApiError for a refusal, after a minute TimeoutError. */
  async json<T>(method: keyof typeof HttpMethod, path: string, request: Request = {}): Promise<T> {
    return JSON.parse(await this.text(method, path, request)) as T;
  }

  async text(method: keyof typeof HttpMethod, path: string, request: Request = {}): Promise<string> {
    const deadline = AbortSignal.timeout(REQUEST_MS);
    const signal = request.signal ? AbortSignal.any([request.signal, deadline]) : deadline;
    return await (await this.#send(method, path, { ...request, signal })).text();
  }

  /** The lines of a reply that may never end: a watch, a log that is followed. Returning from the loop closes it. */
  async *lines(path: string, request: Request): AsyncGenerator<string> {
    const { body } = await this.#send('GET', path, request);
    let rest = '';
    for await (const chunk of body?.pipeThrough(new TextDecoderStream()) ?? []) {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop() ?? '';
      yield* parts;
    }
    if (rest !== '') yield rest;
  }

  async #send(method: keyof typeof HttpMethod, path: string, request: Request): Promise<Response> {
    const url = new URL(this.#server + path);
    for (const [name, value] of Object.entries(request.query ?? {}))
      if (value !== undefined) url.searchParams.set(name, String(value));
    const context = new RequestContext(url.toString(), HttpMethod[method]);
    await this.config.applySecurityAuthentication(context);
    const headers: Record<string, string> = { ...context.getHeaders(), accept: 'application/json, */*' };
    if (request.body !== undefined) headers['content-type'] = request.contentType ?? 'application/json';
    const dispatcher = context.getDispatcher(); // has the certificates and the proxy of the kubeconfig
    const response = await fetch(url, {
      method,
      headers,
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
      ...(request.signal ? { signal: request.signal } : {}),
      ...(dispatcher ? { dispatcher } : {}),
    });
    if (!response.ok)
      throw new ApiError(`${method} ${url.pathname}`, response.status, detailOf(await response.text()));
    return response;
  }
}

/** The message of a `Status`, or the beginning of what was sent instead (a proxy's page). */
function detailOf(body: string): string {
  try {
    const { message } = JSON.parse(body) as { message?: unknown };
    if (typeof message === 'string') return message;
  } catch {
    // Not JSON: shown as it is.
  }
  return body.trim().slice(0, 300) || 'without a message';
}

/** Why a request failed, of an error of any kind: undici wraps what the socket reported. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inner = error.cause === undefined ? '' : `: ${describeFailure(error.cause)}`;
  return error.message + inner;
}
