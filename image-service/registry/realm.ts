import { RegistryFailure } from './failure.ts';

/** One address of a token server, and whether the login may be sent there. */
export interface TokenServer {
  readonly url: URL;
  readonly login: boolean;
}

/**
 * Where a token is asked for, by the realm of a challenge from `origin`; the first that replies counts. A registry by https
 * may not bring a login to plain http: its own host is asked by https, as a proxy that terminates TLS often hides it
 * from the registry that the realm is https, and then, like any other host, without the login. Throws RegistryFailure.
 */
export function tokenServers(realm: string | undefined, origin: string, what: string): TokenServer[] {
  const url = realm?.startsWith('/') ? URL.parse(realm, origin) : URL.parse(realm ?? '');
  if (
    realm === undefined ||
    realm === '' ||
    !url ||
    !/^https?:$/.test(url.protocol) ||
    url.username + url.password !== ''
  ) {
    throw new RegistryFailure('FailedPrecondition', `${what}: it names no valid token server`, {
      hint: 'check the configuration of the registry: the realm of its challenge must be a URL',
    });
  }
  url.hash = '';
  const registry = new URL(origin);
  if (registry.protocol === 'http:' || url.protocol === 'https:') return [{ url, login: true }];
  const plain = { url, login: false };
  if (url.hostname !== registry.hostname) return [plain];
  const secure = new URL(url);
  secure.protocol = 'https:';
  return [{ url: secure, login: true }, plain];
}

/** Whether a login for the registry at `origin` may be sent to `url`, to which the token server at `start` has redirected. */
export function mayLogin(url: URL, start: TokenServer, origin: string): boolean {
  if (url.origin === start.url.origin) return start.login;
  return url.protocol === 'https:' && url.hostname === new URL(origin).hostname;
}
