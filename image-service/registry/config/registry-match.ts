/** What registries.conf makes of a reference: the endpoints in order. */

import { CrispError, describeError } from '#core/errors.ts';
import { parseReference, type Reference } from '../../image/reference.ts';
import type { Endpoint } from '../endpoint.ts';
import { systemTrust } from '../http/trust.ts';
import { apiHost, isQualifying } from './address.ts';
import { endpointAt } from './endpoint-at.ts';
import { fault } from './fault.ts';
import type { RegistriesConf } from './registries-conf.ts';
import { type RegistryEntry, unwrap } from './registry-entry.ts';

/** Length of the part of `name` (`host/path`) that a prefix matches, at the end of a host, a port or a path; -1 for none. */
function matchLength(name: string, prefix: string): number {
  const fixed = prefix.startsWith('*.') ? prefix.slice(1) : prefix;
  const start = fixed === prefix ? 0 : name.indexOf(fixed);
  if (start < 0 || !name.startsWith(fixed, start) || name.slice(0, start).includes('/')) return -1;
  const end = start + fixed.length;
  // A prefix without port matches the host with any port, as in that library.
  return end === name.length || name[end] === '/' || name[end] === ':' ? end : -1;
}

/** The entry with the longest prefix; undefined for none. Throws FailedPrecondition where that entry is faulty. */
function entryFor(conf: RegistriesConf, name: string): { prefix: string; entry: RegistryEntry } | undefined {
  let prefix = '';
  for (const candidate of conf.registries.keys()) {
    if (candidate.length > prefix.length && matchLength(name, candidate) >= 0) prefix = candidate;
  }
  const found = conf.registries.get(prefix);
  return found && { prefix, entry: unwrap(found) };
}

type Wanted = Pick<Reference, 'host' | 'path' | 'digest'>;

/** Undefined where no entry matches. Throws FailedPrecondition with file and line; PermissionDenied where it is blocked. */
export function endpointsOfConf(conf: RegistriesConf, wanted: Wanted): Endpoint[] | undefined {
  const name = `${wanted.host}/${wanted.path}`;
  const found = entryFor(conf, name);
  if (!found) return undefined;
  const { prefix, entry } = found;
  const mirrors = entry.mirrors.filter(
    ({ pull }) => pull === 'all' || (pull === 'digest-only') === (wanted.digest !== undefined),
  );
  const rest = name.slice(matchLength(name, prefix));
  const rewritten = [...mirrors, entry].map((one) => ({
    one,
    target: one.location === '' ? wanted : targetOf(one.location + rest, one.source),
  }));
  // A registry that is blocked itself may have mirrors that are not.
  const blockers = rewritten.map(({ one, target }) =>
    one === entry && entry.blocked ? entry.source : blockerOf(conf, target),
  );
  const allowed = rewritten.filter((_, index) => blockers[index] === undefined);
  if (allowed.length === 0) throw blocked(name, blockers.at(-1) ?? entry.source);
  return allowed.flatMap(({ one, target }) => endpointsAt(target, one.insecure, one.source));
}

/** The entry that blocks the name at a mirror or at the location. */
function blockerOf(
  conf: RegistriesConf,
  { host, path }: Pick<Reference, 'host' | 'path'>,
): string | undefined {
  const entry = entryFor(conf, `${host}/${path}`)?.entry;
  return entry?.blocked ? entry.source : undefined;
}

function blocked(name: string, source: string): CrispError {
  return new CrispError('PermissionDenied', `${name}: its registry is blocked by ${source}`, {
    hint: 'use another registry, or remove `blocked = true`',
    lasting: true,
  });
}

/** By https; what is insecure also without verification, and after that by http, as in that library. */
function endpointsAt(
  { host, path }: Pick<Reference, 'host' | 'path'>,
  insecure: boolean,
  source: string,
): Endpoint[] {
  const api = apiHost(host);
  const at = (scheme: string, skipVerify: boolean) =>
    endpointAt(
      { origin: `${scheme}://${api}`, host: api, path: '/v2' },
      { registry: host, path, source, trust: { ...systemTrust, skipVerify } },
    );
  return insecure ? [at('https', true), at('http', false)] : [at('https', false)];
}

function targetOf(name: string, source: string): Pick<Reference, 'host' | 'path'> {
  const slash = name.indexOf('/');
  if (slash < 0 || !isQualifying(name.slice(0, slash))) {
    throw fault(source, `with this location the name is ${name}, which has no host and path`);
  }
  try {
    const { host, path } = parseReference(name);
    return { host, path };
  } catch (error) {
    throw fault(source, `with this location the name is not valid: ${describeError(error)}`);
  }
}
