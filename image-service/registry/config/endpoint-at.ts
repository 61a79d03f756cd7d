import type { Endpoint } from '../endpoint.ts';
import { type HostTrust, systemTrust } from '../http/trust.ts';
import { type ApiAddress, apiHost, credentialHost, splitApiPath } from './address.ts';

interface Settings {
  /** The registry of the image. */
  readonly registry: string;
  /** The repository at that registry, or the one that the files put in its place. */
  readonly path: string;
  readonly source: string;
  readonly namespace?: string | undefined;
  readonly resolves?: boolean;
  readonly serves?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
  readonly trust?: HostTrust;
  readonly dialTimeoutMs?: number | undefined;
}

/** The endpoint at an address whose path is that of the API, possibly with the beginning of the repository's name behind it. */
export function endpointAt(address: ApiAddress, settings: Settings): Endpoint {
  const { api, prefix } = splitApiPath(address.path);
  // As URLs of replies have it: one of capitals, or with the scheme's own port, would look like the target of a redirect.
  const { origin } = new URL(address.origin);
  return {
    url: origin + address.path.replace(/\/v2$/, ''),
    origin,
    host: address.host,
    base: origin + api,
    repository: prefix === '' ? settings.path : `${prefix}/${settings.path}`,
    namespace: settings.namespace,
    resolves: settings.resolves ?? true,
    serves: settings.serves ?? true,
    headers: settings.headers ?? {},
    source: settings.source,
    credentialHost: credentialHost(address.host),
    trust: settings.trust ?? systemTrust,
    dialTimeoutMs: settings.dialTimeoutMs,
  };
}

/** The registry that a mirror is asked for by `?ns=`: undefined where the host is that registry itself. */
export const namespaceFor = (registry: string, host: string): string | undefined =>
  [registry, apiHost(registry)].some((own) => own.replace(/:443$/, '') === host) ? undefined : registry;
