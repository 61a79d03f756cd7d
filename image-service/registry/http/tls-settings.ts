import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import { CrispError } from '#core/errors.ts';
import { trustInDirectories } from './certificate-directories.ts';
import { type PemFile, PemFiles } from './pem-files.ts';
import { type SystemStore, systemStore } from './system-store.ts';
import type { HostTrust } from './trust.ts';

/** How the connections to a host verify it, in a form for TLS. */
export interface TlsSettings {
  /** Equal for equal settings. */
  readonly key: string;
  readonly options: { readonly rejectUnauthorized: boolean; readonly secureContext?: SecureContext };
  /** Where its authorities come from, for messages. */
  readonly authorities: string;
}

/** For plain http. */
export const noTls: TlsSettings = { key: 'none', options: { rejectUnauthorized: true }, authorities: '' };

export interface TrustOptions {
  /** Directories with `<host>/*.crt`, `*.cert` and `*.key`. */
  readonly directories: readonly string[];
  /** Of the daemon: SSL_CERT_FILE, SSL_CERT_DIR. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Where nothing is verified. */
const noStore: SystemStore = { certificates: () => [], hash: '', source: '' };

/** Contexts that are kept: parsing a system's authorities takes ten milliseconds. */
const MAX_KEPT = 32;

interface ClientPair {
  readonly cert: PemFile;
  readonly key: PemFile;
}

/** The trust of hosts from their files, as they are now. */
export class Trust {
  readonly #options: TrustOptions;
  readonly #files = new PemFiles();
  readonly #kept = new Map<string, TlsSettings>();

  constructor(options: TrustOptions) {
    this.#options = options;
  }

  /**
   * How a host is verified: by the system's authorities, those of its entry and those of its directories. Throws
   * FailedPrecondition where one of its files is missing, unreadable, without a certificate, or not of its pair.
   */
  of(host: string, entry: HostTrust): TlsSettings {
    const more = trustInDirectories(this.#options.directories, host);
    const caFiles = [...new Set([...entry.caFiles, ...more.caFiles])];
    const own = caFiles.map((path) => this.#authorities(path));
    const pairs = [...entry.clientCertificates, ...more.clientCertificates].map((pair) => this.#pair(pair));
    const system = entry.skipVerify ? noStore : systemStore(this.#files, this.#options.env);
    const parts = [own, pairs.flatMap(({ cert, key }) => [cert, key])].map((files) =>
      files.map(({ hash }) => hash),
    );
    const key = digest([...parts, system.hash, entry.skipVerify]);
    const known = this.#kept.get(key);
    if (known) return known;
    const ca = [...system.certificates(), ...own.flatMap(({ certificates }) => certificates)].join('\n');
    const settings = {
      key,
      authorities: [system.source, ...caFiles].join(', '),
      options: {
        rejectUnauthorized: !entry.skipVerify,
        // As for Go's programs: an authority that is trusted need not be a root.
        secureContext: createSecureContext({ ca, allowPartialTrustChain: true, ...clientOf(pairs) }),
      },
    };
    this.#keep(settings);
    return settings;
  }

  /** The files of a host's authorities beside those of the system: of its entry, and of its directories. */
  authoritiesOf(host: string, entry: HostTrust): readonly string[] {
    return [...entry.caFiles, ...trustInDirectories(this.#options.directories, host).caFiles];
  }

  #keep(settings: TlsSettings): void {
    this.#kept.set(settings.key, settings);
    const [oldest] = this.#kept.keys();
    if (oldest !== undefined && this.#kept.size > MAX_KEPT) this.#kept.delete(oldest);
  }

  #authorities(path: string): PemFile {
    const file = this.#files.read(path, 'CA file');
    for (const one of file.certificates) certificate(one, path);
    if (file.certificates.length > 0) return file;
    throw new CrispError('FailedPrecondition', `CA file ${path}: it holds no certificate in PEM`, {
      hint: `it must have a line "-----BEGIN CERTIFICATE-----"; one in DER is converted by: openssl x509 -inform der -in ${path} -out NEW`,
    });
  }

  #pair({ certFile, keyFile }: HostTrust['clientCertificates'][number]): ClientPair {
    const cert = this.#files.read(certFile, 'client certificate');
    const key = this.#files.read(keyFile, 'key of a client certificate');
    const [first] = cert.certificates;
    if (first === undefined) throw badPair(`client certificate ${certFile}: it holds no certificate in PEM`);
    if (!certificate(first, certFile).checkPrivateKey(privateKey(key, keyFile)))
      throw badPair(`client certificate ${certFile}: ${keyFile} is not its key`);
    return { cert, key };
  }
}

/** Of several, OpenSSL takes the last one of a kind of key: the first is to be preferred. */
function clientOf(pairs: readonly ClientPair[]): { cert?: string[]; key?: string[] } {
  if (pairs.length === 0) return {};
  const last = pairs.toReversed();
  return { cert: last.map(({ cert }) => cert.text), key: last.map(({ key }) => key.text) };
}

function certificate(pem: string, path: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new CrispError('FailedPrecondition', `certificate file ${path}: a certificate in it is malformed`, {
      hint: 'copy the file again; openssl x509 -in FILE -text must be able to read it',
    });
  }
}

function privateKey({ text }: PemFile, path: string) {
  try {
    return createPrivateKey(text);
  } catch {
    const encrypted = /ENCRYPTED/.test(text); // in both forms that there are
    throw badPair(
      `key ${path}: ${encrypted ? 'it is encrypted by a passphrase' : 'it is not a private key in PEM'}`,
    );
  }
}

const badPair = (message: string): CrispError =>
  new CrispError('FailedPrecondition', message, {
    hint: "give the client's certificate and its own key, in PEM and without a passphrase",
  });

const digest = (parts: unknown): string => createHash('sha256').update(JSON.stringify(parts)).digest('hex');
