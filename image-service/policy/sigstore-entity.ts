/** What @sigstore/verify is given of a signature, and what it has to trust. The library takes some megabytes: imported on demand. */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { createHash } from 'node:crypto';
import { type SignedEntity, type TrustMaterial, toTrustMaterial, Verifier } from '@sigstore/verify';
import { isSignedBy } from './keys.ts';
import { ENTRY_TYPE, type LogEntry } from './log-entry.ts';
import { rejected } from './signature.ts';

/** A payload, its signature, and the annotations that came with them. */
export interface SignedPayload {
  readonly bytes: Buffer;
  readonly payload: Buffer;
  readonly annotations: ReadonlyMap<string, string>;
}

/** The annotation with the entry of a transparency log. */
export const ENTRY = 'dev.sigstore.cosign/bundle';
const ALWAYS = { start: new Date(0), end: new Date(8_640_000_000_000_000) };

/** Throws SignatureValidationFailed where there is none. */
export function annotation({ annotations }: SignedPayload, key: string): string {
  const value = annotations.get(key);
  if (value === undefined) throw rejected(`it has no annotation ${key}`);
  return value;
}

/** How many proofs are required. */
interface Thresholds {
  /** Entries of a log. */
  readonly tlogThreshold: number;
  /** Times at which the signer's certificate must have been valid. */
  readonly timestampThreshold: number;
}

/** Returns the OIDC issuer of the signer's certificate. Throws the library's errors. */
export function verifyEntity(
  entity: SignedEntity,
  material: TrustMaterial,
  thresholds: Thresholds,
): string | undefined {
  // As the peers: no certificate transparency, for whose logs a policy has no keys.
  const verifier = new Verifier(material, { ...thresholds, ctlogThreshold: 0 });
  return verifier.verify(entity).identity?.extensions?.issuer;
}

/** The signature, and the entry of a log if it has one. */
export function signatureOf(
  { bytes, payload }: SignedPayload,
  entry?: LogEntry,
): Pick<SignedEntity, 'signature' | 'tlogEntries'> {
  const digest = createHash('sha256').update(payload).digest();
  return {
    signature: {
      signature: bytes,
      compareSignature: (other) => other.equals(bytes),
      compareDigest: (other) => other.equals(digest),
      compareSignedDigest: (other) => other.equals(digest),
      verifySignature: (key) => isSignedBy(key, payload, bytes),
    },
    tlogEntries: entry ? [asLibraryEntry(entry)] : [],
  };
}

export const asLibraryEntry = (entry: LogEntry): SignedEntity['tlogEntries'][number] => ({
  logIndex: String(entry.logIndex),
  logId: { keyId: entry.logId },
  kindVersion: ENTRY_TYPE,
  integratedTime: String(entry.integratedTime),
  inclusionPromise: { signedEntryTimestamp: entry.signedEntryTimestamp },
  inclusionProof: undefined,
  canonicalizedBody: entry.body,
});

/** The certificates are what a signer's certificate must lead to. */
export const trustIn = (authorities: readonly X509Certificate[]): TrustMaterial =>
  toTrustMaterial({
    mediaType: '',
    tlogs: [],
    ctlogs: [],
    timestampAuthorities: [],
    certificateAuthorities: [
      {
        subject: undefined,
        uri: '',
        operator: '',
        validFor: undefined,
        certChain: { certificates: authorities.map(({ raw }) => ({ rawBytes: raw })) },
      },
    ],
  });

/** The policy names keys, not logs: each key may be that of the log that the entry claims to be of. */
export const logsOf = (keys: readonly KeyObject[], { logId }: LogEntry): Pick<TrustMaterial, 'tlogs'> => ({
  tlogs: keys.map((publicKey) => ({ logID: logId, baseURL: '', publicKey, validFor: ALWAYS })),
});
