/**
 * Signatures that a transparency log recorded: by a key, or by a short-lived certificate of Fulcio, which counts if the log
 * recorded the signature while it was valid. Verified by @sigstore/verify, which takes 10 MB: this file is imported where
 * a policy requires it. Nothing is requested from the network.
 */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { createHash } from 'node:crypto';
import { toMessageSignatureBundle } from '@sigstore/bundle';
import {
  type SignedEntity,
  type TrustMaterial,
  toSignedEntity,
  toTrustMaterial,
  Verifier,
} from '@sigstore/verify';
import { describeError } from '#core/errors.ts';
import { intermediatesBelow, maySignCode, parseCertificates } from './certificates.ts';
import { isSignedBy } from './keys.ts';
import { ENTRY_TYPE, type LogEntry, parseLogEntry } from './log-entry.ts';
import { rejected } from './signature.ts';

/** A payload, its signature, and the annotations that came with them. */
export interface SignedPayload {
  readonly bytes: Buffer;
  readonly payload: Buffer;
  readonly annotations: ReadonlyMap<string, string>;
}

const ENTRY = 'dev.sigstore.cosign/bundle';
const CERTIFICATE = 'dev.sigstore.cosign/certificate';
const CHAIN = 'dev.sigstore.cosign/chain';
const ALWAYS = { start: new Date(0), end: new Date(8_640_000_000_000_000) };

/** Whether this key made the signature and one of the logs recorded it. Throws SignatureValidationFailed where not. */
export function verifyKeyLogged(signed: SignedPayload, key: KeyObject, logs: readonly KeyObject[]): void {
  const entry = parseLogEntry(annotation(signed, ENTRY));
  if (!key.export({ type: 'spki', format: 'der' }).equals(entry.signer))
    throw rejected('log entry: it is for another key');
  const material = {
    ...trustIn([]),
    ...logsOf(logs, entry),
    publicKey: () => ({ publicKey: key, validFor: () => true }),
  };
  const entity = {
    ...entityOf(signed, entry),
    key: { $case: 'public-key' as const, hint: '' },
    timestamps: [],
  };
  verifyEntity(entity, material, 0);
}

/** Verifies a signature by a certificate of Fulcio. Throws SignatureValidationFailed. */
export function verifyFulcio(
  signed: SignedPayload,
  trusted: readonly X509Certificate[],
  logs: readonly KeyObject[],
  wanted: { readonly oidcIssuer: string; readonly subjectEmail: string },
): void {
  const entry = parseLogEntry(annotation(signed, ENTRY));
  const [leaf, ...others] = parseCertificates(annotation(signed, CERTIFICATE)) ?? [];
  if (!leaf || others.length > 0) throw rejected('it does not have one certificate');
  if (!leaf.raw.equals(entry.signer)) throw rejected('log entry: it is for another certificate');
  if (!maySignCode(leaf)) throw rejected('its certificate is not for signing code');
  const chain = parseCertificates(signed.annotations.get(CHAIN) ?? '');
  if (!chain) throw rejected('its chain of certificates is malformed');
  const material = {
    ...trustIn([...trusted, ...intermediatesBelow(trusted, chain)]),
    ...logsOf(logs, entry),
  };
  const issuer = verifyEntity({ ...entityOf(signed, entry), ...certified(leaf, signed, entry) }, material, 1);
  if (issuer !== wanted.oidcIssuer)
    throw rejected(`its signer is of the OIDC issuer ${JSON.stringify(issuer)}`);
  if (leaf.checkEmail(wanted.subjectEmail, { subject: 'never' }) === undefined)
    throw rejected(`its signer is ${JSON.stringify(leaf.subjectAltName ?? '')}, not ${wanted.subjectEmail}`);
}

function annotation({ annotations }: SignedPayload, key: string): string {
  const value = annotations.get(key);
  if (value === undefined) throw rejected(`it has no annotation ${key}`);
  return value;
}

/** Returns the OIDC issuer of the signer's certificate. */
function verifyEntity(
  entity: SignedEntity,
  material: TrustMaterial,
  timestampThreshold: number,
): string | undefined {
  // As the peers: no certificate transparency, for whose logs a policy has no keys. The entry of the log is required.
  const verifier = new Verifier(material, { tlogThreshold: 1, ctlogThreshold: 0, timestampThreshold });
  try {
    return verifier.verify(entity).identity?.extensions?.issuer;
  } catch (error) {
    throw rejected(describeError(error));
  }
}

type Entries = SignedEntity['tlogEntries'];

/** The signature and its entry; the caller adds the key. */
function entityOf(
  { bytes, payload }: SignedPayload,
  entry: LogEntry,
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
    tlogEntries: entriesOf(entry),
  };
}

const entriesOf = (entry: LogEntry): Entries => [
  {
    logIndex: String(entry.logIndex),
    logId: { keyId: entry.logId },
    kindVersion: ENTRY_TYPE,
    integratedTime: String(entry.integratedTime),
    inclusionPromise: { signedEntryTimestamp: entry.signedEntryTimestamp },
    inclusionProof: undefined,
    canonicalizedBody: entry.body,
  },
];

/** The certificate as the key, and the time of the entry. */
function certified(leaf: X509Certificate, { bytes, payload }: SignedPayload, entry: LogEntry) {
  const digest = createHash('sha256').update(payload).digest();
  const bundle = toMessageSignatureBundle({ digest, signature: bytes, certificate: leaf.raw });
  const { key } = toSignedEntity(bundle, payload);
  if (key.$case === 'certificate') {
    const { certificate } = key;
    // The library fails where a certificate has timestamps of certificate transparency and it has no key of their log.
    certificate.clone = () => Object.create(certificate, { extensions: { value: [] } });
  }
  const timestamps = entriesOf(entry).map((tlogEntry) => ({ $case: 'transparency-log' as const, tlogEntry }));
  return { key, timestamps };
}

const trustIn = (authorities: readonly X509Certificate[]): TrustMaterial =>
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
const logsOf = (keys: readonly KeyObject[], { logId }: LogEntry): Pick<TrustMaterial, 'tlogs'> => ({
  tlogs: keys.map((publicKey) => ({ logID: logId, baseURL: '', publicKey, validFor: ALWAYS })),
});
