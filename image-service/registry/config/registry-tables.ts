/** The tables `[[registry]]` of registries.conf, version 2. */
import { isQualifying } from './address.ts';
import { fault, shown } from './fault.ts';
import {
  type Checked,
  check,
  checkLocation,
  lowerHost,
  type MirrorEntry,
  type RegistryEntry,
  trimmed,
} from './registry-entry.ts';
import type { TomlTable } from './toml-file.ts';

const PULLS = ['all', 'digest-only', 'tag-only'] as const;

/** By prefix. Throws FailedPrecondition where it is open what an entry is for. */
export function registriesOf(file: TomlTable): Map<string, Checked<RegistryEntry>> {
  const found = new Map<string, Checked<RegistryEntry>>();
  const byLocation = new Map<string, RegistryEntry>();
  for (const table of file.tables('registry')) {
    const prefix = prefixOf(table);
    // The first of several with the same prefix counts, as in that library.
    if (found.has(prefix)) continue;
    found.set(
      prefix,
      check(() => {
        const entry = registryOf(table, prefix);
        const location = entry.location || prefix;
        const other = byLocation.get(location) ?? entry;
        byLocation.set(location, other);
        for (const key of ['insecure', 'blocked'] as const) {
          if (entry[key] !== other[key])
            throw fault(entry.source, `location ${location} has another value of ${key} at ${other.source}`);
        }
        return entry;
      }),
    );
  }
  return found;
}

/** A prefix that is not a string, or that is missing together with the location, leaves open what the entry is for. */
function prefixOf(table: TomlTable): string {
  const prefix = trimmed(table.text('prefix') ?? '') || trimmed(table.text('location') ?? '');
  if (prefix === '') throw fault(table.at(), '[[registry]] has neither prefix nor location');
  return lowerHost(prefix);
}

function registryOf(table: TomlTable, prefix: string): RegistryEntry {
  const wildcard = prefix.startsWith('*.');
  checkPrefix(prefix, wildcard, table.at(table.has('prefix') ? 'prefix' : 'location'));
  const location = trimmed(table.text('location') ?? '');
  if (location === '' && !wildcard) throw fault(table.at(), `the entry for ${prefix} has no location`);
  if (location !== '' && location !== prefix) checkLocation(location, table.at('location'));
  if (table.has('pull-from-mirror')) {
    throw fault(table.at('pull-from-mirror'), 'pull-from-mirror is for [[registry.mirror]] only');
  }
  const digestOnly = table.flag('mirror-by-digest-only') ?? false;
  return {
    location: location === prefix && wildcard ? '' : lowerHost(location),
    insecure: table.flag('insecure') ?? false,
    blocked: table.flag('blocked') ?? false,
    mirrors: table.tables('mirror').map((mirror) => mirrorOf(mirror, digestOnly)),
    source: table.at(),
  };
}

function checkPrefix(prefix: string, wildcard: boolean, source: string): void {
  const fixed = wildcard ? prefix.slice(2) : prefix;
  if ((wildcard && /[/@:]/.test(fixed)) || fixed.includes('*')) {
    throw fault(
      source,
      `prefix ${shown(prefix)}: a wildcard is written *.example.com, without port and path`,
    );
  }
  checkLocation(fixed, source);
}

function mirrorOf(table: TomlTable, digestOnly: boolean): MirrorEntry {
  const location = trimmed(table.text('location') ?? '');
  if (location === '') throw fault(table.at(), 'a mirror has no location');
  checkLocation(location, table.at('location'));
  const host = location.split('/')[0] ?? '';
  if (!isQualifying(host))
    throw fault(table.at('location'), `${shown(location)}: ${host} is not a host with a dot or port`);
  const text = table.text('pull-from-mirror') ?? '';
  const pull = text === '' ? 'all' : PULLS.find((name) => name === text);
  if (pull === undefined) {
    throw fault(table.at('pull-from-mirror'), `${shown(text)} is not one of ${PULLS.join(', ')}`);
  }
  if (digestOnly && text !== '') {
    throw fault(
      table.at('pull-from-mirror'),
      'pull-from-mirror and mirror-by-digest-only exclude each other',
    );
  }
  return {
    location: lowerHost(location),
    insecure: table.flag('insecure') ?? false,
    pull: digestOnly ? 'digest-only' : pull,
    source: table.at(),
  };
}
