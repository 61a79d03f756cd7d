/** crisp's own table `[image.registries]`: its check at the start, and the lookup in it. */

import { CrispError } from '#core/errors.ts';
import type { Reference } from '../../image/reference.ts';
import type { EndpointOptions, RegistryOptions } from '../../options.ts';
import type { Endpoint } from '../endpoint.ts';
import { type HostTrust, systemTrust } from '../http/trust.ts';
import { apiHost, isHost, isQualifying, lookupHost, parseAddress, withoutLogin } from './address.ts';
import { endpointAt, namespaceFor } from './endpoint-at.ts';
import { fault, shown } from './fault.ts';

type Table = Readonly<Record<string, readonly EndpointOptions[]>>;

interface Entry extends RegistryOptions {
  readonly host: string;
  /** The key as written. */
  readonly key: string;
}

/**
 * The endpoints of each host: mirrors, then the host itself. An endpoint has the settings of its own entry where it has
 * one, else those of the entry that names it. `at` gives the `file:line` of an entry's key. Throws InvalidArgument that
 * lists each key and mirror that matches nothing.
 */
export function ownTable(
  given: Readonly<Record<string, RegistryOptions>>,
  at: (key: string, option?: 'mirrors') => string,
): Table {
  const problems: string[] = [];
  const entries = new Map<string, Entry>();
  for (const [key, options] of Object.entries(given)) {
    const host = hostOfKey(key);
    const other = host === undefined ? undefined : entries.get(host);
    if (host === undefined) {
      problems.push(
        `${at(key)}: image.registries.${shown(withoutLogin(key))}: not a host of an image reference`,
      );
    } else if (other) {
      problems.push(
        `${at(key)}: image.registries.${shown(key)}: the same host as ${shown(other.key)} at ${at(other.key)}`,
      );
    } else {
      entries.set(host, { ...options, insecure: options.insecure || key.startsWith('http://'), host, key });
    }
  }
  const table: Record<string, readonly EndpointOptions[]> = Object.create(null);
  for (const entry of entries.values()) {
    const mirrors = entry.mirrors.flatMap((mirror) => {
      const url = urlOfMirror(mirror, entry, entries);
      if (typeof url === 'string')
        return [{ ...settings(mirror, entry, entries), url, source: at(entry.key, 'mirrors') }];
      const name = `image.registries.${shown(entry.key)}: mirror ${shown(withoutLogin(mirror))}`;
      problems.push(`${at(entry.key, 'mirrors')}: ${name}: ${url.reason}`);
      return [];
    });
    const own = {
      ...trustOf(entry),
      url: `${schemeOf(entry)}://${apiHost(entry.host)}`,
      source: at(entry.key),
    };
    table[entry.host] = [...mirrors, own];
  }
  if (problems.length === 0) return table;
  throw new CrispError('InvalidArgument', problems.join('\n'), {
    hint: 'write keys as host, host:port or *.domain, and mirrors as host[:port][/path] or as a URL',
  });
}

/** Undefined for what no image reference has as its host. */
function hostOfKey(key: string): string | undefined {
  const bare = key.replace(/^https?:\/\//i, '').replace(/\/$/, '');
  const plain = bare.startsWith('*.') && !bare.includes(':') ? bare.slice(2) : bare;
  if (!isHost(plain) || (plain === bare && !isQualifying(plain.toLowerCase()))) return undefined;
  return lookupHost(/^http:/i.test(key) ? bare.replace(/:80$/, '') : bare);
}

const schemeOf = ({ insecure }: RegistryOptions): string => (insecure ? 'http' : 'https');

const trustOf = ({ caFile, skipVerify }: RegistryOptions) => ({
  ...(caFile === '' ? {} : { caFile }),
  ...(skipVerify ? { insecureSkipVerify: true } : {}),
});

/** The entry with the settings of a mirror. */
function entryOf(mirror: string, named: Entry, entries: ReadonlyMap<string, Entry>): Entry {
  const host = mirror.replace(/^https?:\/\//i, '').split('/')[0] ?? '';
  return entries.get(lookupHost(host)) ?? named;
}

const settings = (mirror: string, named: Entry, entries: ReadonlyMap<string, Entry>) =>
  trustOf(entryOf(mirror, named, entries));

/** A name `host/path` is a repository's beginning, behind /v2; a URL is the API's, to which /v2 is added if it has none. */
function urlOfMirror(
  mirror: string,
  named: Entry,
  entries: ReadonlyMap<string, Entry>,
): string | { readonly reason: string } {
  if (!/^https?:\/\//i.test(mirror)) {
    const slash = mirror.indexOf('/');
    const host = slash < 0 ? mirror : mirror.slice(0, slash);
    if (!isHost(host)) return { reason: 'it does not begin with a host' };
    const path = slash < 0 ? '' : mirror.slice(slash).replace(/\/+$/, '');
    if (!/^(\/[a-z0-9]+([._-]+[a-z0-9]+)*)*$/.test(path))
      return { reason: 'its path is not that of a repository' };
    const scheme = schemeOf(entryOf(mirror, named, entries));
    return `${scheme}://${apiHost(host.toLowerCase())}/v2${path}`;
  }
  const address = parseAddress(mirror);
  if (typeof address === 'string') return { reason: address };
  const host = apiHost(address.host);
  if (!isHost(host)) return { reason: 'its host is not valid' };
  return address.origin.replace(address.host, host) + address.path;
}

/** The entry for a host: its own, or that of the longest wildcard; undefined for none. */
export function ownEntry(table: Table, host: string): readonly [key: string, EndpointOptions[]] | undefined {
  const key = lookupHost(host);
  const found = table[key];
  if (found) return [key, [...found]];
  const name = key.replace(/:\d+$/, '');
  const wildcards = Object.keys(table).filter((one) => one.startsWith('*.') && name.endsWith(one.slice(1)));
  const longest = wildcards.sort((a, b) => b.length - a.length)[0];
  if (longest === undefined) return undefined;
  // In the place of the wildcard's own host is the one that it has matched.
  const own = (table[longest] ?? []).map((one) => ({
    ...one,
    url: one.url.replace(`//${longest}`, `//${host}`),
  }));
  return [longest, own];
}

/** Undefined where the table has no entry for the host. Throws FailedPrecondition where an endpoint is not valid. */
export function endpointsOfTable(
  table: Table,
  { host, path }: Pick<Reference, 'host' | 'path'>,
): Endpoint[] | undefined {
  const found = ownEntry(table, host);
  if (!found) return undefined;
  const [key, entries] = found;
  return entries.map((entry) => {
    const source = entry.source ?? `image.registries.${JSON.stringify(key)}`;
    const address = parseAddress(entry.url);
    if (typeof address === 'string') {
      throw fault(
        source,
        `registry ${host}: ${shown(withoutLogin(entry.url))} is not a valid endpoint: ${address}`,
      );
    }
    const hasApi = address.path.split('/').includes('v2');
    return endpointAt(hasApi ? address : { ...address, path: `${address.path}/v2` }, {
      registry: host,
      path,
      source,
      namespace: namespaceFor(host, address.host),
      trust: hostTrust(entry),
    });
  });
}

export const hostTrust = ({ caFile, insecureSkipVerify }: EndpointOptions): HostTrust => ({
  ...systemTrust,
  caFiles: caFile === undefined ? [] : [caFile],
  skipVerify: insecureSkipVerify ?? false,
});
