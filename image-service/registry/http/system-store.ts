import { createHash } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { getCACertificates, rootCertificates } from 'node:tls';
import { CrispError } from '#core/errors.ts';
import type { PemFile, PemFiles } from './pem-files.ts';

/** Where systems have their authorities, as Go's crypto/x509 looks for them: the first file that there is, */
const FILES: readonly string[] = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];
/** and each of the directories. */
const DIRECTORIES: readonly string[] = ['/etc/ssl/certs', '/etc/pki/tls/certs'];

type Environment = Readonly<Record<string, string | undefined>>;

export interface SystemStore {
  /** In PEM. */
  certificates(): string[];
  /** Equal for equal certificates. */
  readonly hash: string;
  /** Where they come from, for messages. */
  readonly source: string;
}

/**
 * The authorities that the node trusts. SSL_CERT_FILE and SSL_CERT_DIR (colon-separated) replace the files and the
 * directories; Node's own authorities are taken where the system has none. Throws FailedPrecondition where these variables
 * lead to no certificate at all: more must not be trusted than they say.
 */
export function systemStore(
  files: PemFiles,
  env: Environment,
  places = { files: FILES, directories: DIRECTORIES },
): SystemStore {
  const { SSL_CERT_FILE: bundle = '', SSL_CERT_DIR: list = '' } = env;
  const found = new Map<string, PemFile>();
  const add = (path: string): boolean => {
    const file = tryOrUndefined(() => files.read(path, 'authorities'));
    if (!file || file.certificates.length === 0) return false;
    found.set(file.hash, file);
    return true;
  };
  const file = (bundle === '' ? places.files : [bundle]).find(add);
  const directories = (list === '' ? places.directories : list.split(':')).filter(
    (directory) => filesOf(directory).filter(add).length > 0,
  );
  const sources = [...(file === undefined ? [] : [file]), ...directories];
  if (sources.length === 0 && (bundle !== '' || list !== '')) throw noneIn(bundle, list);
  return {
    certificates: () => [
      ...unique([...found.values()].flatMap(({ certificates }) => certificates)),
      ...(sources.length === 0 ? rootCertificates : []),
      ...getCACertificates('extra'), // of NODE_EXTRA_CA_CERTS
    ],
    hash: createHash('sha256')
      .update([...found.keys()].join())
      .digest('hex'),
    source: sources.join(', ') || "Node's own list, as the system has none",
  };
}

/** Links within a directory are other names of the same files. */
function filesOf(directory: string): string[] {
  const entries = tryOrUndefined(() => readdirSync(directory, { withFileTypes: true })) ?? [];
  return entries
    .map((entry) => [entry, join(directory, entry.name)] as const)
    .filter(([entry, path]) => {
      if (!entry.isSymbolicLink()) return entry.isFile();
      return tryOrUndefined(() => readlinkSync(path))?.includes('/') ?? false;
    })
    .map(([, path]) => path);
}

/** A bundle and a directory hold the same certificates, in lines of any length. */
function unique(certificates: readonly string[]): string[] {
  return [...new Map(certificates.map((pem) => [pem.replace(/\s+/g, ''), pem])).values()];
}

function noneIn(file: string, directories: string): CrispError {
  const set = [file && `SSL_CERT_FILE=${file}`, directories && `SSL_CERT_DIR=${directories}`].filter(Boolean);
  return new CrispError('FailedPrecondition', `${set.join(' and ')}: there is no readable certificate`, {
    hint: 'name a PEM file of authorities, or unset the variables of the daemon to trust those of the system',
  });
}

function tryOrUndefined<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}
