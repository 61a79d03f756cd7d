/** Names without a host, completed by registries.conf. */
import { CrispError } from '#core/errors.ts';
import { parseReference, type Reference, shortNameOf } from '../../image/reference.ts';
import type { RegistriesConf } from './registries-conf.ts';
import { unwrap } from './registry-entry.ts';

export interface Candidate {
  readonly reference: Reference;
  /** What has completed it; undefined where the name has a host, or no file has something for it: then it is Docker Hub's. */
  readonly source: string | undefined;
}

/**
 * What a name may mean, in the order in which it is pulled: its alias, else each host of unqualified-search-registries, else
 * Docker Hub. Throws InvalidArgument for what is not a name, FailedPrecondition where the file is faulty or, with
 * short-name-mode "enforcing", leaves the choice open.
 */
export function candidatesFor(conf: RegistriesConf, text: string): readonly Candidate[] {
  const short = shortNameOf(text);
  if (!short) return [{ reference: parseReference(text), source: undefined }];
  parseReference(text); // faults of the name itself are reported with the name as it was given
  const alias = conf.aliases.get(short.name);
  const repository = alias && unwrap(alias.repository);
  if (alias && repository !== undefined)
    return [{ reference: parseReference(repository + short.suffix), source: alias.source }];
  const hosts = conf.search ? unwrap(conf.search.hosts) : [];
  if (hosts.length === 0) return [{ reference: parseReference(text), source: undefined }];
  if (hosts.length > 1 && conf.shortNameMode && unwrap(conf.shortNameMode) === 'enforcing') {
    throw new CrispError(
      'FailedPrecondition',
      `${short.name} may be any of ${hosts.map((host) => `${host}/${short.name}`).join(', ')} (${conf.search?.source})`,
      { hint: 'write the name with its host, or set an alias or another short-name-mode', lasting: true },
    );
  }
  return hosts.map((host) => ({
    reference: parseReference(`${host}/${short.name}${short.suffix}`),
    source: conf.search?.source,
  }));
}
