/** Files with credentials by host: docker's config.json and the auth.json of containers-auth.json(5). */
import { describeError, errnoOf } from '#core/errors.ts';
import { openRegular } from '#linux/fs/regular-file.ts';
import { isObject } from '../../image/manifest.ts';
import { withoutLogin } from '../config/address.ts';
import type { Credential } from '../credentials.ts';
import { credentialOf, hostOfAddress, type RegistryAuth } from '../credentials.ts';

/** Larger ones are not read: a file has some hundred bytes for each host. */
const LIMIT = 4 << 20;
const HELPER = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export interface AuthEntry {
  /** `reg.example:5000/ns/repo`: the host as `hostOfAddress` gives it, and the path that it is for. */
  readonly scope: string;
  /** The file and the key as it is written there, without a password. */
  readonly source: string;
  readonly value: unknown;
}

export interface AuthFile {
  readonly path: string;
  /** In the order in which equal scopes count: keys that are exactly a scope before addresses such as `https://H/v1/`. */
  readonly entries: readonly AuthEntry[];
  /** Credential helpers by host. */
  readonly helpers: ReadonlyMap<string, string>;
  /** The helper for all other hosts. */
  readonly store: string | undefined;
  /** Why the file, or a part of it, is not used; never with a part of its text. */
  readonly problems: readonly string[];
}

/** Reads one. A missing file has no entries, and one that cannot be used has none and says why: it stops no pull. */
export async function readAuthFile(path: string): Promise<AuthFile> {
  try {
    return parseAuthFile(await readBounded(path), path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return parseAuthFile('{}', path);
    return unusable(path, errnoOf(error) ?? describeError(error));
  }
}

async function readBounded(path: string): Promise<string> {
  await using file = await openRegular(path); // a fifo is not waited for
  if (!file) throw new Error('it is not a regular file');
  const buffer = Buffer.alloc(LIMIT + 1);
  let length = 0;
  for (let read = 1; read > 0 && length <= LIMIT; length += read)
    ({ bytesRead: read } = await file.read(buffer, length, buffer.length - length));
  if (length > LIMIT) throw new Error(`it has more than ${LIMIT} bytes`);
  return buffer.toString('utf8', 0, length);
}

const unusable = (path: string, why: string): AuthFile => ({
  path,
  entries: [],
  helpers: new Map(),
  store: undefined,
  problems: [`auth file ${path}: ${why}`],
});

export function parseAuthFile(text: string, path: string): AuthFile {
  if (text.trim() === '') return unusable(path, 'it is empty');
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch {
    return unusable(path, 'it is not JSON'); // the parser's message would quote the text
  }
  if (json === null) return parseAuthFile('{}', path);
  if (!isObject(json)) return unusable(path, 'it is not a JSON object');
  const problems: string[] = [];
  const table = (key: string): [string, unknown][] => {
    const value = json[key] ?? {};
    if (isObject(value)) return Object.entries(value);
    problems.push(`auth file ${path}: ${key} is not a JSON object`);
    return [];
  };
  const entries = table('auths').map(([key, value]) => entryOf(key, value, path));
  const helpers = new Map<string, string>();
  for (const [host, name] of table('credHelpers')) {
    if (isHelper(name)) helpers.set(hostOfAddress(host), name);
    else problems.push(`auth file ${path}: the credential helper of ${shown(host)} has no valid name`);
  }
  const store = json['credsStore'];
  const isStore = isHelper(store);
  if (!isStore && store !== undefined && store !== '' && store !== null)
    problems.push(`auth file ${path}: credsStore is not a valid name`);
  return { path, entries: entries.sort(exactFirst), helpers, store: isStore ? store : undefined, problems };
}

const isHelper = (name: unknown): name is string => typeof name === 'string' && HELPER.test(name);

const shown = (key: string): string => JSON.stringify(withoutLogin(key).slice(0, 200));

function entryOf(key: string, value: unknown, path: string): AuthEntry & { readonly exact: boolean } {
  const host = hostOfAddress(key);
  const address = /^[a-z]+:\/\//i.test(key.trim());
  // Addresses, and keys of docker such as `index.docker.io/v1/`, are for the whole host.
  const rest = address
    ? ''
    : key
        .trim()
        .replace(/^[^/]*/, '')
        .replace(/\/+$/, '');
  const below = /^\/v[12]$/.test(rest) ? '' : rest;
  return {
    scope: host + below,
    source: `${path}, entry ${shown(key)}`,
    value,
    exact: rest === below && !address,
  };
}

const exactFirst = (one: { readonly exact: boolean }, other: { readonly exact: boolean }): number =>
  Number(other.exact) - Number(one.exact);

/** The scopes that cover a repository of a host, the longest first (containers-auth.json(5)). */
export function scopesOf(host: string, repository: string | undefined): string[] {
  const parts = repository === undefined ? [] : repository.split('/');
  return [...parts.map((_, index) => [host, ...parts.slice(0, parts.length - index)].join('/')), host];
}

/** The credential of an entry: undefined where it holds none, the reason where it is malformed. */
export function readEntry({ value, source }: AuthEntry): Credential | string | undefined {
  if (!isObject(value)) return `auth file ${source}: it is not a JSON object`;
  const fields: Record<string, string> = {};
  for (const key of ['auth', 'username', 'password', 'identitytoken', 'registrytoken']) {
    const field = value[key];
    if (typeof field === 'string') fields[key] = field;
    else if (field !== undefined && field !== null) return `auth file ${source}: ${key} is not a string`;
  }
  const auth: RegistryAuth = {
    auth: fields['auth'] ?? '',
    username: fields['username'] ?? '',
    password: fields['password'] ?? '',
    identityToken: fields['identitytoken'] ?? '',
    registryToken: fields['registrytoken'] ?? '',
  };
  try {
    return credentialOf(auth);
  } catch (error) {
    return `auth file ${source}: ${describeError(error)}`;
  }
}
