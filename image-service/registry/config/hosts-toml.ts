/** containerd's hosts.toml: the endpoints of one registry host. */

import { isAbsolute, join } from 'node:path';
import type { Endpoint } from '../endpoint.ts';
import { type HostTrust, systemTrust } from '../http/trust.ts';
import {
  type ApiAddress,
  apiHost,
  defaultScheme,
  isLoopback,
  parseAddress,
  withoutLogin,
} from './address.ts';
import { endpointAt, namespaceFor } from './endpoint-at.ts';
import { fault, shown } from './fault.ts';
import { headersOf } from './headers.ts';
import { TomlTable } from './toml-file.ts';

/** One server of the file. */
export interface HostEntry {
  /** Undefined: the registry itself. */
  readonly address: ApiAddress | undefined;
  readonly pull: boolean;
  readonly resolve: boolean;
  readonly trust: HostTrust | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly dialTimeoutMs: number | undefined;
  readonly source: string;
}

const CAPABILITIES = new Set(['pull', 'resolve', 'push', 'referrers']);
const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * The servers in the order of the file, the one of its top-level fields last. Relative paths are those of `directory`, in
 * which the file is. Unknown keys are ignored. Throws FailedPrecondition with file and line.
 */
export function parseHostsToml(text: string, directory: string): readonly HostEntry[] {
  const file = TomlTable.parse(text, join(directory, 'hosts.toml'));
  const hosts = file.table('host');
  const entries = (hosts?.keys ?? []).map((name) => {
    const table = hosts?.table(name);
    if (!table) throw fault(file.at('host', name), 'host must be a table');
    return entryOf(name, table, table.at(), directory);
  });
  const server = file.text('server') ?? '';
  return [...entries, entryOf(server, file, file.at(server === '' ? 'host' : 'server'), directory)];
}

/** The endpoints for an image of the registry `registry` (as in the reference). */
export function endpointsOfHosts(entries: readonly HostEntry[], registry: string, path: string): Endpoint[] {
  return entries.map((entry) => {
    const own = entry.address === undefined;
    const host = apiHost(registry);
    const scheme = defaultScheme(registry);
    const address = entry.address ?? { origin: `${scheme}://${host}`, host, path: '/v2' };
    const { source, headers, dialTimeoutMs } = entry;
    const trust =
      entry.trust ?? (own && isLoopback(registry) ? { ...systemTrust, skipVerify: true } : systemTrust);
    return endpointAt(address, {
      registry,
      path,
      source,
      headers,
      dialTimeoutMs,
      trust,
      namespace: namespaceFor(registry, address.host),
      // What may not be pulled from cannot be resolved by either.
      resolves: own || (entry.pull && entry.resolve),
      serves: own || entry.pull,
    });
  });
}

function entryOf(name: string, table: TomlTable, source: string, directory: string): HostEntry {
  const allowed = capabilities(table);
  const absolute = (path: string) => (isAbsolute(path) ? path : join(directory, path));
  const caFiles = filesOf(table).map(absolute);
  const clientCertificates = pairsOf(table).map(([certFile, keyFile]) => ({
    certFile: absolute(certFile),
    keyFile: absolute(keyFile || certFile),
  }));
  const skipVerify = table.flag('skip_verify');
  const trusts = caFiles.length > 0 || clientCertificates.length > 0 || skipVerify !== undefined;
  return {
    address: name === '' ? undefined : addressOf(name, table.flag('override_path') ?? false, source),
    pull: allowed.has('pull'),
    resolve: allowed.has('resolve'),
    trust: trusts ? { caFiles, clientCertificates, skipVerify: skipVerify ?? false } : undefined,
    headers: headersOf(table),
    dialTimeoutMs: dialTimeout(table),
    source,
  };
}

function addressOf(name: string, override: boolean, source: string): ApiAddress {
  const found = parseAddress(name.includes('://') ? name : `https://${name}`);
  if (typeof found === 'string') throw fault(source, `${shown(withoutLogin(name))}: ${found}`);
  return override || found.path.endsWith('/v2') ? found : { ...found, path: `${found.path}/v2` };
}

function capabilities(table: TomlTable): ReadonlySet<string> {
  const names = (table.texts('capabilities') ?? []).map((name) => name.toLowerCase());
  const unknown = names.find((name) => !CAPABILITIES.has(name));
  if (unknown !== undefined) {
    throw fault(
      table.at('capabilities'),
      `unknown capability ${shown(unknown)}`,
      'write pull, resolve and push',
    );
  }
  return names.length === 0 ? CAPABILITIES : new Set(names);
}

const isText = (value: unknown): value is string => typeof value === 'string';

function filesOf(table: TomlTable): readonly string[] {
  const value = table.raw('ca');
  if (value === undefined) return [];
  if (isText(value)) return [value];
  if (Array.isArray(value) && value.every(isText)) return value;
  throw fault(table.at('ca'), 'ca must be a path or a list of paths');
}

/** `client` as a path, a list of paths, or a list of pairs of certificate and key. */
function pairsOf(table: TomlTable): readonly (readonly [string, string])[] {
  const value = table.raw('client');
  if (value === undefined) return [];
  if (isText(value)) return [[value, '']];
  if (Array.isArray(value)) {
    const pairs = value.map((item: unknown): readonly [string, string] | undefined => {
      if (isText(item)) return [item, ''];
      if (!Array.isArray(item) || item.length !== 2 || !item.every(isText)) return undefined;
      return [item[0] ?? '', item[1] ?? ''];
    });
    if (pairs.every((pair) => pair !== undefined)) return pairs;
  }
  throw fault(table.at('client'), 'client must be a path, a list of paths, or a list of [certificate, key]');
}

/** A duration as Go writes it, `1m30s`; zero and absent mean none. */
function dialTimeout(table: TomlTable): number | undefined {
  const text = table.text('dial_timeout') ?? '';
  if (text === '' || text === '0') return undefined;
  const parts = [...text.matchAll(/(\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})(ns|us|µs|μs|ms|s|m|h)/g)];
  if (text.length > 100 || parts.map(([part]) => part).join('') !== text) {
    throw fault(table.at('dial_timeout'), `${shown(text)} is not a duration`, 'write "5s" or "500ms"');
  }
  const ms = parts.reduce((sum, [, count, unit]) => sum + Number(count) * (UNITS[unit ?? ''] ?? 0), 0);
  // Timers of Node.js end at 2^31 ms.
  return ms < 1 ? undefined : Math.min(Math.round(ms), 2 ** 31 - 1);
}
