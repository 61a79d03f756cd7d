/** Hosts and addresses of registries as configuration files write them. */

/** Names of Docker Hub's registry. */
const HUB_HOSTS = new Set([
  'docker.io',
  'index.docker.io',
  'registry-1.docker.io',
  'registry.hub.docker.com',
]);
const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?';
const HOST = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[a-fA-F0-9:.]+\\])(?::(\\d{1,5}))?$`);
const MAX_HOST = 300;

/** `host` or `host:port`, the port in its range. */
export function isHost(text: string): boolean {
  const port = text.length <= MAX_HOST ? HOST.exec(text) : null;
  if (port === null || Number(port[1] ?? 1) < 1 || Number(port[1] ?? 1) > 65_535) return false;
  return URL.canParse(`https://${text}`); // `a.1` is no name, and not an address either
}

/** Whether an image reference can begin with this host: a first part without dot and port is a path on Docker Hub. */
export const isQualifying = (host: string): boolean =>
  host === 'localhost' || /[.:]/.test(host) || host.startsWith('[');

/** The host under which a registry is looked up: lower case, without https's port, docker.io for its other names. */
export function lookupHost(host: string): string {
  const plain = host.toLowerCase().replace(/:443$/, '');
  return HUB_HOSTS.has(plain) ? 'docker.io' : plain;
}

/** The host that has the API: registry-1.docker.io for docker.io. */
export const apiHost = (host: string): string => (host === 'docker.io' ? 'registry-1.docker.io' : host);

/** The registry host to which the credentials of an endpoint belong. */
export const credentialHost = (host: string): string =>
  host === 'registry-1.docker.io' ? 'docker.io' : host;

/** Loopback: what goes there does not leave the machine. */
export const isLoopback = (host: string): boolean =>
  /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/.test(host);

/** By http only where the host is a loopback address, unless its port is that of https. */
export const defaultScheme = (host: string): 'http' | 'https' =>
  isLoopback(host) && !host.endsWith(':443') ? 'http' : 'https';

/** An address without its user and password, for messages. */
export const withoutLogin = (address: string): string => address.replace(/^([a-z]+:\/\/)?.*@/i, '$1');

export interface ApiAddress {
  readonly origin: string;
  readonly host: string;
  /** Path without a final slash: `/v2`, `/v2/proxy`, `/artifactory/api/docker/remote/v2`. */
  readonly path: string;
}

/**
 * Reads an http or https URL: no login, no query, no fragment. The result's path has no empty or dot parts. The reason why
 * it is not valid, where it is not.
 */
export function parseAddress(text: string): ApiAddress | string {
  const url = text.length > 2048 ? null : URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol) || url.host === '') return 'it is not an http or https URL';
  if (url.username !== '' || url.password !== '') return 'it contains credentials';
  if (url.search !== '' || url.hash !== '') return 'it has a query or a fragment';
  const path = url.pathname.replaceAll(/\/+/g, '/').replace(/\/$/, '');
  return { origin: url.origin, host: url.host, path };
}

/** Splits a path behind its last part `v2`: what follows belongs to the name of the repository. */
export function splitApiPath(path: string): { readonly api: string; readonly prefix: string } {
  const parts = path.split('/');
  const last = parts.lastIndexOf('v2');
  if (last < 0) return { api: path, prefix: '' };
  return { api: parts.slice(0, last + 1).join('/'), prefix: parts.slice(last + 1).join('/') };
}
