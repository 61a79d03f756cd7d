import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls';
import type { HostTrust } from './trust.ts';

/** How the connections to a host verify it, in a form for TLS. */
export interface TlsSettings {
  /** Equal for equal settings. */
  readonly key: string;
  readonly options: { readonly rejectUnauthorized: boolean; readonly secureContext?: SecureContext };
}

/** Reads the files that the trust names. */
export function tlsSettings(trust: HostTrust): TlsSettings {
  const ca = trust.caFiles.map((path) => readFileSync(path, 'utf8'));
  const key = createHash('sha256')
    .update(JSON.stringify([ca, trust.skipVerify]))
    .digest('hex');
  const rejectUnauthorized = !trust.skipVerify;
  if (ca.length === 0) return { key, options: { rejectUnauthorized } };
  const secureContext = createSecureContext({ ca: [...rootCertificates, ...ca] });
  return { key, options: { rejectUnauthorized, secureContext } };
}
