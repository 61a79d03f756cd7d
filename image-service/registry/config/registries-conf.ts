/** One file in the format of containers-registries.conf(5), version 2, or 1 where that is allowed. */
import { isHost } from './address.ts';
import { fault, shown } from './fault.ts';
import { type Alias, aliasesOf } from './registry-aliases.ts';
import { type Checked, check, type RegistryEntry, trimmed } from './registry-entry.ts';
import { registriesOf } from './registry-tables.ts';
import { TomlTable } from './toml-file.ts';
import { registriesOfVersion1, usesVersion1 } from './version-1.ts';

export interface RegistriesConf {
  /** By prefix, its host in lower case: `docker.io`, `example.com/team`, `*.example.com`. */
  readonly registries: ReadonlyMap<string, Checked<RegistryEntry>>;
  /** Hosts for names without one; undefined where the file does not set them. */
  readonly search: { readonly hosts: Checked<readonly string[]>; readonly source: string } | undefined;
  readonly shortNameMode: Checked<ShortNameMode> | undefined;
  readonly aliases: ReadonlyMap<string, Alias>;
}

export type ShortNameMode = 'permissive' | 'enforcing' | 'disabled';
const MODES: readonly ShortNameMode[] = ['permissive', 'enforcing', 'disabled'];

/** Parses a file. Version 1 is read where `drop-in` is false. Throws FailedPrecondition with file and line. */
export function parseRegistriesConf(text: string, path: string, dropIn: boolean): RegistriesConf {
  const file = TomlTable.parse(text, path);
  const version1 = usesVersion1(file);
  if (version1) {
    const mixed = ['registry', 'unqualified-search-registries', 'short-name-mode', 'aliases'].find((key) =>
      file.has(key),
    );
    const hint =
      'write [[registry]] tables and unqualified-search-registries (containers-registries.conf(5))';
    if (dropIn) throw fault(file.at('registries'), 'a drop-in file must be in version 2 of the format', hint);
    if (mixed)
      throw fault(file.at(mixed), `${mixed} is of version 2, [registries] of version 1 of the format`, hint);
  }
  const searchKey = file.has('unqualified-search-registries') || version1;
  const mode = file.has('short-name-mode') && file.raw('short-name-mode') !== '';
  return {
    registries: version1 ? registriesOfVersion1(file) : registriesOf(file),
    search: searchKey ? searchOf(file, version1) : undefined,
    shortNameMode: mode ? check(() => modeOf(file)) : undefined,
    aliases: aliasesOf(file),
  };
}

function searchOf(file: TomlTable, version1: boolean): RegistriesConf['search'] {
  const source = version1
    ? file.at('registries', 'search', 'registries')
    : file.at('unqualified-search-registries');
  return { hosts: check(() => searchHosts(file, version1)), source };
}

function searchHosts(file: TomlTable, version1: boolean): readonly string[] {
  const table = version1 ? file.table('registries')?.table('search') : file;
  const key = version1 ? 'registries' : 'unqualified-search-registries';
  return (table?.texts(key) ?? []).map((text, index) => {
    const host = trimmed(text).toLowerCase();
    if (isHost(host)) return host;
    throw fault(
      table?.at(key, String(index)) ?? '',
      `${shown(text)} is not a host to search`,
      'write host[:port]',
    );
  });
}

function modeOf(file: TomlTable): ShortNameMode {
  const text = file.text('short-name-mode') ?? '';
  const mode = MODES.find((name) => name === text);
  if (mode) return mode;
  throw fault(file.at('short-name-mode'), `${shown(text)} is not one of ${MODES.join(', ')}`);
}
