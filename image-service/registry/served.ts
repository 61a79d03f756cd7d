import type { Endpoint } from './endpoint.ts';

/** An endpoint that was asked in vain. */
export interface FailedEndpoint {
  /** Its origin and path. */
  readonly endpoint: string;
  /** Without the stage and the endpoint. */
  readonly cause: string;
}

/** Who has served content, for logs and metrics. Plain data: it crosses threads. */
export interface Served {
  /** Origin and path, without credentials. */
  readonly endpoint: string;
  readonly kind: 'registry' | 'mirror';
  /** Whether the node's configuration names it; false for a registry host that is asked by default. */
  readonly configured: boolean;
  /** Asked for this content before, in this order. */
  readonly failed: readonly FailedEndpoint[];
}

/** Content, with who has served it. */
export type ServedBy<T> = T & { readonly served: Served };

/** `repository` is the one of the reference, with its host. */
export function servedBy(endpoint: Endpoint, repository: string, failed: readonly FailedEndpoint[]): Served {
  const own = endpoint.namespace === undefined && repository.startsWith(`${endpoint.credentialHost}/`);
  const configured = endpoint.source !== 'default';
  return { endpoint: endpoint.url, kind: own ? 'registry' : 'mirror', configured, failed };
}

/** The failure's message repeats the request, as `what: `, which the reader of a log line knows. */
export const failedEndpoint = (endpoint: Endpoint, what: string, message: string): FailedEndpoint => ({
  endpoint: endpoint.url,
  cause: message.startsWith(`${what}: `) ? message.slice(what.length + 2) : message,
});
