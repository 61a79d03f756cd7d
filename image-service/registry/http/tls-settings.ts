import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls';
import type { HostTrust } from './trust.ts';

/** How the connections to a host verify it, in a form for TLS. */
export interface TlsSettings {
  /** Equal for equal settings. */
  readonly key: string;
  readonly secureContext: SecureContext | undefined;
  readonly rejectUnauthorized: boolean;
}

/** Reads the files that the trust names. */
export function tlsSettings(trust: HostTrust): TlsSettings {
  const ca = trust.caFiles.map((path) => readFileSync(path, 'utf8'));
  const key = createHash('sha256')
    .update(JSON.stringify([ca, trust.skipVerify]))
    .digest('hex');
  const secureContext = ca.length > 0 ? createSecureContext({ ca: [...rootCertificates, ...ca] }) : undefined;
  return { key, secureContext, rejectUnauthorized: !trust.skipVerify };
}
