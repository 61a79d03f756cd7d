/** Version 1 of registries.conf: `[registries.search]`, `[registries.insecure]`, `[registries.block]`. */
import { isHost } from './address.ts';
import { fault, shown } from './fault.ts';
import { type Checked, check, lowerHost, type RegistryEntry, trimmed } from './registry-entry.ts';
import type { TomlTable } from './toml-file.ts';

const KEYS = ['search', 'insecure', 'block'];

/** Whether a list of version 1 is set in the file. Throws FailedPrecondition where `registries` is not a table. */
export function usesVersion1(file: TomlTable): boolean {
  const table = file.table('registries');
  return KEYS.some((key) => (table?.table(key)?.texts('registries') ?? []).length > 0);
}

export function registriesOfVersion1(file: TomlTable): Map<string, Checked<RegistryEntry>> {
  const lists = file.table('registries');
  const of = (key: string) =>
    (lists?.table(key)?.texts('registries') ?? []).map((text) => lowerHost(trimmed(text)));
  const [insecure, blocked] = [of('insecure'), of('block')];
  const found = new Map<string, Checked<RegistryEntry>>();
  for (const location of new Set([...insecure, ...blocked])) {
    const source = lists?.at(blocked.includes(location) ? 'block' : 'insecure', 'registries') ?? '';
    found.set(
      location,
      check(() => {
        if (!isHost(location.split('/')[0] ?? ''))
          throw fault(source, `${shown(location)} does not begin with a host`);
        return {
          location,
          insecure: insecure.includes(location),
          blocked: blocked.includes(location),
          mirrors: [],
          source,
        };
      }),
    );
  }
  return found;
}
