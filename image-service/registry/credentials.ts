import { createHash } from 'node:crypto';
import { CrispError } from '#core/errors.ts';
import { lookupHost } from './config/address.ts';

/** Credentials as CRI's AuthConfig carries them; empty strings mean absent. */
export interface RegistryAuth {
  readonly username?: string;
  readonly password?: string;
  /** Base64 of `user:password`, also url-safe, wrapped, or with trailing NULs or newlines. */
  readonly auth?: string;
  /** The only host that they are for; the image's own registry where absent. */
  readonly serverAddress?: string;
  /** An OAuth2 refresh token. */
  readonly identityToken?: string;
  /** A bearer token, sent as it is. */
  readonly registryToken?: string;
}

export type Credential =
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  | { readonly kind: 'refresh'; readonly token: string; readonly username: string }
  | { readonly kind: 'bearer'; readonly token: string };

/**
 * The host that a server address or the key of an auth file means: without scheme, path and default port, in lower case;
 * `https://index.docker.io/v1/` is docker.io.
 */
export function hostOfAddress(address: string): string {
  const [, scheme = '', bare = ''] = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(.*)$/is.exec(address.trim()) ?? [];
  const host = (bare.split('/')[0] ?? '').replace(/^.*@/, '').toLowerCase();
  return lookupHost(scheme.toLowerCase() === 'http' ? host.replace(/:80$/, '') : host);
}

/** Reads the forms of AuthConfig. Undefined where it holds nothing. Throws InvalidArgument where `auth` is malformed. */
export function credentialOf(auth: RegistryAuth): Credential | undefined {
  if (auth.registryToken) return { kind: 'bearer', token: printable(auth.registryToken, 'registry_token') };
  const pair = auth.username
    ? { username: auth.username, password: auth.password ?? '' }
    : decodePair(auth.auth);
  if (auth.identityToken)
    return { kind: 'refresh', token: auth.identityToken, username: pair?.username ?? '' };
  if (!pair) return undefined;
  // docker login leaves this user name beside an identity token kept as password.
  if (pair.username === '<token>') return { kind: 'refresh', token: pair.password, username: '' };
  return { kind: 'basic', ...pair };
}

function decodePair(auth: string | undefined): { username: string; password: string } | undefined {
  if (!auth) return undefined;
  // Tools wrap it at 76 columns, and pad what they encode.
  const joined = auth.replace(/[\s\0]+/g, '');
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(joined)) throw badAuth('it is not base64');
  const text = Buffer.from(joined, 'base64')
    .toString('utf8')
    .replace(/[\0\r\n]+$/, '');
  const colon = text.indexOf(':');
  if (colon < 1) throw badAuth('decoded, it is not user:password');
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

function badAuth(why: string): CrispError {
  return new CrispError('InvalidArgument', `credentials: field auth: ${why}`, {
    hint: 'check the pull secret: auth is the base64 of user:password',
  });
}

/** A header's value cannot hold control characters; a value with them is not a token, and must not be part of an error message. */
function printable(token: string, field: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new CrispError(
    'InvalidArgument',
    `credentials: field ${field} has characters that are not valid in a token`,
    {
      hint: 'check the pull secret',
    },
  );
}

/** Identifies callers without keeping their secrets. */
export function identityOf(auth: RegistryAuth | undefined): string {
  if (!auth) return '';
  const { username, password, auth: pair, serverAddress, identityToken, registryToken } = auth;
  const fields = [username, password, pair, serverAddress, identityToken, registryToken].map(
    (field) => field ?? '',
  );
  return createHash('sha256').update(JSON.stringify(fields)).digest('hex');
}
