/** Where the signatures of an image are: containers-registries.d(5), read, and imported, when a policy needs signatures. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { errnoOf } from '#core/errors.ts';
import { readRegular } from '#linux/fs/regular-file.ts';
import { policyError } from './read-policy.ts';

const FILE_LIMIT = 1 << 20;
const MAX_FILES = 1000;
/** Where the peers look for signatures outside of the registry if nothing else is configured. */
const DEFAULT_LOOKASIDE = 'file:///var/lib/containers/sigstore';

interface Namespace {
  readonly file: string;
  readonly lookaside: string | undefined;
  readonly attachments: boolean | undefined;
}

/** The namespaces of all files; the key '' is `default-docker`. */
export type SignatureLocations = ReadonlyMap<string, Namespace>;

/** What applies to one image. */
export interface Location {
  /** URL below which signatures are kept outside of the registry. */
  readonly lookaside: string;
  /** Whether signatures are read that are tags beside the image, as cosign writes them; off by default, as the peers have it. */
  readonly attachments: boolean;
}

/** Each setting is that of the most specific scope that has it. */
export function locationOf(locations: SignatureLocations, scopes: readonly string[]): Location {
  const found = [...scopes, ''].flatMap((scope) => locations.get(scope) ?? []);
  return {
    lookaside: found.find(({ lookaside }) => lookaside !== undefined)?.lookaside ?? DEFAULT_LOOKASIDE,
    attachments: found.find(({ attachments }) => attachments !== undefined)?.attachments ?? false,
  };
}

/** Reads all `*.yaml` of the directory, which may be missing. Throws FailedPrecondition, with the file. */
export async function readSignatureLocations(directory: string): Promise<SignatureLocations> {
  const merged = new Map<string, Namespace>();
  for (const file of await filesOf(directory)) {
    const bytes = await readRegular(file, FILE_LIMIT).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined; // removed meanwhile
      throw policyError(`${file} cannot be read`, error);
    });
    if (!bytes) continue;
    for (const [scope, namespace] of parseLocations(bytes.toString('utf8'), file)) {
      const known = merged.get(scope);
      const name = scope === '' ? 'default-docker' : `docker ${JSON.stringify(scope)}`;
      if (known) throw policyError(`${name} is in both ${known.file} and ${file}`);
      merged.set(scope, namespace);
    }
  }
  return merged;
}

async function filesOf(directory: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw policyError(`${directory} cannot be read`, error);
  }
  const files = names.filter((name) => name.endsWith('.yaml')).sort();
  if (files.length > MAX_FILES) throw policyError(`${directory} has more than ${MAX_FILES} files`);
  return files.map((name) => join(directory, name));
}

/** Reads one file. Unknown keys are ignored, as the peers do. */
export function parseLocations(text: string, file: string): SignatureLocations {
  let value: unknown;
  try {
    value = parse(text, { logLevel: 'error', maxAliasCount: 100 });
  } catch (error) {
    throw policyError(`${file}: not valid YAML`, error);
  }
  const fields = mapping(value, file, 'the file');
  const namespaces = new Map<string, Namespace>();
  const fallback = fields.get('default-docker');
  if (fallback !== undefined && fallback !== null)
    namespaces.set('', namespaceOf(fallback, file, 'default-docker'));
  for (const [scope, entry] of mapping(fields.get('docker'), file, 'docker')) {
    const namespace = namespaceOf(entry, file, `docker ${JSON.stringify(scope)}`);
    if (scope !== '') namespaces.set(scope, namespace); // the empty one matches no image
  }
  return namespaces;
}

function mapping(value: unknown, file: string, what: string): ReadonlyMap<string, unknown> {
  if (value === undefined || value === null) return new Map();
  if (typeof value !== 'object' || Array.isArray(value))
    throw policyError(`${file}: ${what} is not a mapping`);
  return new Map(Object.entries(value));
}

function namespaceOf(value: unknown, file: string, what: string): Namespace {
  const fields = mapping(value, file, what);
  const text = (key: string) => {
    const found = fields.get(key) ?? '';
    if (typeof found !== 'string') throw policyError(`${file}: ${what}: ${key} is not text`);
    return found === '' ? undefined : found;
  };
  // `sigstore` is the older name.
  const lookaside = text('lookaside') ?? text('sigstore');
  const use = fields.get('use-sigstore-attachments') ?? undefined;
  const attachments = booleanOf(use);
  if (use !== undefined && attachments === undefined)
    throw policyError(`${file}: ${what}: use-sigstore-attachments is not true or false`);
  return { file, lookaside, attachments };
}

/** YAML 1.1 has more words for it, which the peers accept. */
function booleanOf(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value;
  if (typeof value !== 'string') return undefined;
  if (/^(y|Y|yes|Yes|YES|on|On|ON)$/.test(value)) return true;
  return /^(n|N|no|No|NO|off|Off|OFF)$/.test(value) ? false : undefined;
}
