import { type Credential, credentialOf, hostOfAddress, type RegistryAuth } from '../credentials.ts';
import { type AuthFile, readAuthFile, readEntry, scopesOf } from './auth-file.ts';
import { askHelper, type RunProgram } from './credential-helper.ts';

/** Whose credentials are looked up. */
export interface CredentialTarget {
  /** `host` or `host:port`, without the default port of its scheme. */
  readonly host: string;
  readonly secure: boolean;
  /** Undefined where none is known: the entry of the whole host counts. */
  readonly repository: string | undefined;
}

export interface CredentialLookup {
  /** Undefined: requests are anonymous. */
  readonly credential: Credential | undefined;
  /** Where it comes from: `the pull request`, or file and key. Without secrets. */
  readonly source: string | undefined;
  /** Which configured credentials are not used, and why: for the error of a refused pull. */
  readonly problems: readonly string[];
}

/** Which credential a host gets, and only that host. Never rejects, except at the abort of its own signal. */
export type CredentialSource = (target: CredentialTarget) => Promise<CredentialLookup>;

export interface CredentialOptions {
  /** The host of the image's registry. */
  readonly registry: string;
  /** The credentials of the pull: sent only to the host that they are for. */
  readonly caller: RegistryAuth | undefined;
  readonly files: readonly string[];
  readonly run?: RunProgram;
}

/**
 * The credentials of one pull: its own for their host; else the first file that has one for the target. Of a file its
 * helper for the host counts first, then the entry of the longest path, then its store. Files are read at the first
 * question, and each target is looked up once. Throws InvalidArgument where the caller's are malformed.
 */
export function credentialSource(options: CredentialOptions): CredentialSource {
  const { registry, caller } = options;
  const own = caller ? credentialOf(caller) : undefined;
  const owner = hostOfAddress(caller?.serverAddress || registry);
  let files: Promise<readonly AuthFile[]> | undefined;
  const lookups = new Map<string, Promise<CredentialLookup>>();
  return (target) => {
    const hosts = namesOf(target);
    if (own && hosts.includes(owner))
      return Promise.resolve({ credential: own, source: 'the pull request', problems: [] });
    files ??= Promise.all(options.files.map(readAuthFile));
    const key = `${hosts[0]} ${target.repository ?? ''}`;
    const lookup = lookups.get(key) ?? searchFiles(files, hosts, target.repository, options.run);
    lookups.set(key, lookup);
    return lookup;
  };
}

/** The names of a host in configurations: also with the port of plain http. */
function namesOf({ host, secure }: CredentialTarget): string[] {
  const name = hostOfAddress(host);
  return secure || /:\d+$/.test(name) ? [name] : [`${name}:80`, name];
}

async function searchFiles(
  files: Promise<readonly AuthFile[]>,
  hosts: readonly string[],
  repository: string | undefined,
  run: RunProgram | undefined,
): Promise<CredentialLookup> {
  const problems: string[] = [];
  for (const file of await files) {
    problems.push(...file.problems);
    const found = await searchFile(file, hosts, repository, problems, run);
    if (found) return { ...found, problems };
  }
  return { credential: undefined, source: undefined, problems };
}

async function searchFile(
  file: AuthFile,
  hosts: readonly string[],
  repository: string | undefined,
  problems: string[],
  run: RunProgram | undefined,
): Promise<{ credential: Credential; source: string } | undefined> {
  const ask = async (helper: string | undefined) => {
    const [host = ''] = hosts.slice(-1);
    if (helper === undefined) return undefined;
    const source = `${file.path}, docker-credential-${helper}`;
    // Not aborted with one request: its result is that of all requests of the pull. It has a deadline of its own.
    const answer = await askHelper(helper, host, new AbortController().signal, run);
    if (typeof answer === 'string') problems.push(`auth file ${file.path}: ${answer}`);
    return typeof answer === 'object' ? { credential: answer, source } : undefined;
  };
  const helper = hosts.map((host) => file.helpers.get(host)).find((name) => name !== undefined);
  const helped = await ask(helper);
  if (helped) return helped;
  for (const scope of hosts.flatMap((host) => scopesOf(host, repository))) {
    for (const entry of file.entries.filter((one) => one.scope === scope)) {
      const credential = readEntry(entry);
      if (typeof credential === 'object') return { credential, source: entry.source };
      if (credential !== undefined) problems.push(credential);
    }
  }
  return ask(file.store);
}
