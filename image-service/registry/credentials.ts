import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { CrispError, errnoOf } from '#core/errors.ts';

/** Credentials as CRI's AuthConfig carries them; empty strings mean absent. */
export interface RegistryAuth {
  readonly username?: string;
  readonly password?: string;
  /** Base64 of `user:password`, possibly with trailing NULs. */
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

/** Which credential a host gets; undefined means anonymous. */
export type CredentialSource = (host: string) => Credential | undefined;

const HUB_NAMES = new Set([
  'docker.io',
  'index.docker.io',
  'registry-1.docker.io',
  'registry.hub.docker.com',
]);

/** The host that a server address or the key of an auth file means: `https://index.docker.io/v1/` is docker.io. */
export function hostOfAddress(address: string): string {
  const bare = address.trim().replace(/^[a-z]+:\/\//i, '');
  const host = (bare.split('/')[0] ?? '').toLowerCase();
  return HUB_NAMES.has(host) ? 'docker.io' : host;
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
  if (!/^[A-Za-z0-9+/_-]+={0,2}\s*$/.test(auth)) throw badAuth('it is not base64');
  const text = Buffer.from(auth, 'base64').toString('utf8').replace(/\0+$/, '');
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

/** The `auths` of a docker config file, by host. A missing file has none. Throws FailedPrecondition where unreadable. */
export async function readAuthFile(path: string): Promise<ReadonlyMap<string, RegistryAuth>> {
  const found = new Map<string, RegistryAuth>();
  try {
    const { auths } = JSON.parse(await readFile(path, 'utf8')) as {
      auths?: Record<string, Record<string, string>>;
    };
    for (const [address, entry] of Object.entries(auths ?? {})) {
      found.set(hostOfAddress(address), {
        ...(entry['auth'] ? { auth: entry['auth'] } : {}),
        ...(entry['username'] ? { username: entry['username'] } : {}),
        ...(entry['password'] ? { password: entry['password'] } : {}),
        ...(entry['identitytoken'] ? { identityToken: entry['identitytoken'] } : {}),
        ...(entry['registrytoken'] ? { registryToken: entry['registrytoken'] } : {}),
      });
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return found;
    // A parser's message quotes the text: it may hold secrets.
    const why = errnoOf(error) ?? 'it is not the JSON of a docker config file';
    throw new CrispError('FailedPrecondition', `auth file ${path}: ${why}`, {
      hint: 'fix or remove the file',
    });
  }
  return found;
}

/**
 * The credentials for each host: the caller's are sent only to the host they are for, a mirror's come from the auth file.
 */
export function credentialSource(
  registry: string,
  caller: RegistryAuth | undefined,
  file: ReadonlyMap<string, RegistryAuth>,
): CredentialSource {
  const own = caller ? credentialOf(caller) : undefined;
  const owner = caller?.serverAddress ? hostOfAddress(caller.serverAddress) : hostOfAddress(registry);
  return (host) => {
    const asked = hostOfAddress(host);
    if (own && asked === owner) return own;
    const entry = file.get(asked);
    return entry ? credentialOf(entry) : undefined;
  };
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
