/** The table `[aliases]` of registries.conf: full names for names without a host. */
import { CrispError } from '#core/errors.ts';
import { parseReference } from '../../image/reference.ts';
import { isQualifying } from './address.ts';
import { fault, shown } from './fault.ts';
import { type Checked, check } from './registry-entry.ts';
import type { TomlTable } from './toml-file.ts';

export interface Alias {
  /** `host/path`; undefined where a later file takes the alias back with an empty value. */
  readonly repository: Checked<string | undefined>;
  readonly source: string;
}

export function aliasesOf(file: TomlTable): Map<string, Alias> {
  const table = file.table('aliases');
  const found = new Map<string, Alias>();
  for (const name of table?.keys ?? []) {
    const source = table?.at(name) ?? '';
    found.set(name, { source, repository: check(() => repositoryOf(table?.raw(name), name, source)) });
  }
  return found;
}

function repositoryOf(value: unknown, name: string, source: string): string | undefined {
  if (value === '') return undefined;
  const what = `alias ${shown(name)}`;
  if (typeof value !== 'string') throw fault(source, `${what} must be a string`);
  const host = value.split('/')[0] ?? '';
  const last = value.slice(value.lastIndexOf('/') + 1);
  if (!value.includes('/') || !isQualifying(host) || /[:@]/.test(last)) {
    throw fault(source, `${what}: ${shown(value)} is not a name with host and path, without tag and digest`);
  }
  try {
    return parseReference(value).repository;
  } catch (error) {
    throw fault(source, `${what}: ${error instanceof CrispError ? error.message : 'not a valid name'}`);
  }
}
