/** The TLS files that the configuration names for a listener: read and checked before they are used. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { Config } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';

/** What a listener presents and requires. The form of cri/streaming and of telemetry. */
export interface TlsMaterial {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  /** Authorities of the clients' certificates; where given, clients must have one. */
  readonly clientCa?: string;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
}

/** The sections of the configuration that have such files. */
export type TlsSection = 'streaming' | 'metrics';

/** Undefined where TLS is off. Throws InvalidArgument, beginning with the option, where a file cannot be read, or used. */
export function readTls(config: Config, section: TlsSection): TlsMaterial | undefined {
  const { tlsCertFile, tlsKeyFile, tlsClientCaFile, tlsMinVersion } = config[section];
  if (tlsCertFile === '' && tlsKeyFile === '' && tlsClientCaFile === '') return undefined;
  const names = { cert: `${section}.tls_cert_file`, key: `${section}.tls_key_file` };
  const ca = `${section}.tls_client_ca_file`;
  if (tlsCertFile === '' || tlsKeyFile === '') {
    const set = tlsCertFile !== '' ? names.cert : tlsKeyFile !== '' ? names.key : ca;
    throw new CrispError('InvalidArgument', `${set}: tls_cert_file and tls_key_file belong together`, {
      hint: 'set both, or none of the tls options',
    });
  }
  const [cert, key] = [pem(names.cert, tlsCertFile), pem(names.key, tlsKeyFile)];
  const certificate = parsed(names.cert, tlsCertFile, 'a certificate', () => new X509Certificate(cert));
  const secret = parsed(names.key, tlsKeyFile, 'a private key without a passphrase', () =>
    createPrivateKey(key),
  );
  if (!certificate.checkPrivateKey(secret)) {
    throw new CrispError('InvalidArgument', `${names.key}: ${tlsKeyFile} is not the key of ${tlsCertFile}`, {
      hint: 'name the key that the certificate was made with',
    });
  }
  const material = { cert, key, minVersion: `TLSv${tlsMinVersion}` } as const;
  // All of the chain, and keys that TLS does not take: a listener would refuse them when it changes.
  parsed(names.cert, tlsCertFile, 'a chain, with a key, that TLS takes', () => createSecureContext(material));
  if (tlsClientCaFile === '') return material;
  const clientCa = pem(ca, tlsClientCaFile);
  parsed(ca, tlsClientCaFile, 'a certificate', () => new X509Certificate(clientCa));
  return { ...material, clientCa };
}

/**
 * The authorities of registries that are not those in effect, which the start takes as they are: pulls that need one report it.
 * Throws InvalidArgument, beginning with the option, where a file cannot be read, or used.
 */
export function checkAuthorities({ image }: Config, inEffect: Config): void {
  const { registries: before } = inEffect.image;
  for (const [host, { caFile }] of Object.entries(image.registries)) {
    if (caFile === '' || (Object.hasOwn(before, host) && before[host]?.caFile === caFile)) continue;
    const option = `image.registries.${host}.ca_file`;
    const ca = pem(option, caFile);
    parsed(option, caFile, 'a certificate', () => new X509Certificate(ca));
  }
}

/** The files of a section that TLS is read from. */
export const tlsPaths = (config: Config, section: TlsSection): string[] => {
  const { tlsCertFile, tlsKeyFile, tlsClientCaFile } = config[section];
  return [tlsCertFile, tlsKeyFile, tlsClientCaFile].filter((path) => path !== '');
};

function pem(option: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new CrispError('InvalidArgument', `${option}: ${path} cannot be read`, {
      cause: error,
      hint: 'name a readable PEM file',
    });
  }
}

/** Parsed now: a server would report it with its first client, or not at all. */
function parsed<T>(option: string, path: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new CrispError('InvalidArgument', `${option}: ${path} does not hold ${what}`, {
      cause: error,
      hint: 'name a PEM file with one',
    });
  }
}
