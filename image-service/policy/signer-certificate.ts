/**
 * Signatures by certificates: the short-lived ones of Fulcio, which count if a log recorded the signature while they were
 * valid, and those of another CA, which must be valid now. Nothing is requested from the network.
 */
import { createHash, type KeyObject, type X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { toMessageSignatureBundle } from '@sigstore/bundle';
import { type SignedEntity, toSignedEntity } from '@sigstore/verify';
import { intermediatesBelow, maySignCode, parseCertificates } from './certificates.ts';
import { parseLogEntry } from './log-entry.ts';
import { rejected } from './signature.ts';
import {
  annotation,
  asLibraryEntry,
  ENTRY,
  logsOf,
  type SignedPayload,
  signatureOf,
  trustIn,
  verifyEntity,
} from './sigstore-entity.ts';

const CERTIFICATE = 'dev.sigstore.cosign/certificate';
const CHAIN = 'dev.sigstore.cosign/chain';
const NO_BYTES = Buffer.alloc(0);

interface Subject {
  readonly subjectEmail?: string | undefined;
  readonly subjectHostname?: string | undefined;
}

/** Verifies a signature by a certificate of Fulcio. Throws SignatureValidationFailed, and errors of the library. */
export function verifyFulcio(
  signed: SignedPayload,
  trusted: readonly X509Certificate[],
  logs: readonly KeyObject[],
  wanted: Subject & { readonly oidcIssuer: string },
): void {
  const entry = parseLogEntry(annotation(signed, ENTRY));
  const leaf = leafOf(signed);
  if (!leaf.raw.equals(entry.signer)) throw rejected('log entry: it is for another certificate');
  const material = { ...trustIn(authoritiesOf(signed, trusted, [])), ...logsOf(logs, entry) };
  const entity = { ...signatureOf(signed, entry), ...certified(leaf, signed, entry.integratedTime) };
  const issuer = verifyEntity(entity, material, { tlogThreshold: 1, timestampThreshold: 1 });
  if (issuer !== wanted.oidcIssuer)
    throw rejected(`its signer is of the OIDC issuer ${JSON.stringify(issuer)}`);
  checkSubject(leaf, wanted);
}

/** Verifies a signature by a certificate of a CA, which is valid now. Throws as `verifyFulcio`. */
export function verifyPki(
  signed: SignedPayload,
  trusted: readonly X509Certificate[],
  intermediates: readonly X509Certificate[],
  wanted: Subject,
): void {
  const leaf = leafOf(signed);
  const material = trustIn(authoritiesOf(signed, trusted, intermediates));
  const entity = { ...signatureOf(signed), ...certified(leaf, signed, Math.floor(Date.now() / 1000)) };
  verifyEntity(entity, material, { tlogThreshold: 0, timestampThreshold: 1 });
  checkSubject(leaf, wanted);
}

function leafOf(signed: SignedPayload): X509Certificate {
  const [leaf, ...others] = parseCertificates(annotation(signed, CERTIFICATE)) ?? [];
  if (!leaf || others.length > 0) throw rejected('it does not have one certificate');
  if (!maySignCode(leaf)) throw rejected('its certificate is not for signing code');
  return leaf;
}

/** The trusted certificates, and the CAs below them, from the policy and from the signature. */
function authoritiesOf(
  { annotations }: SignedPayload,
  trusted: readonly X509Certificate[],
  intermediates: readonly X509Certificate[],
): readonly X509Certificate[] {
  const chain = parseCertificates(annotations.get(CHAIN) ?? '');
  if (!chain) throw rejected('its chain of certificates is malformed');
  return [...trusted, ...intermediatesBelow(trusted, [...intermediates, ...chain])];
}

function checkSubject(leaf: X509Certificate, { subjectEmail, subjectHostname }: Subject): void {
  const refuse = (wanted: string) =>
    rejected(`its signer is ${JSON.stringify(leaf.subjectAltName ?? '')}, not ${wanted}`);
  if (subjectEmail !== undefined && leaf.checkEmail(subjectEmail, { subject: 'never' }) === undefined)
    throw refuse(subjectEmail);
  if (subjectHostname === undefined) return;
  const found = isIP(subjectHostname)
    ? leaf.checkIP(subjectHostname)
    : leaf.checkHost(subjectHostname, { subject: 'never', partialWildcards: false });
  if (found === undefined) throw refuse(subjectHostname);
}

/** The certificate as the key, and the time, in seconds since the epoch, at which it must have been valid. */
function certified(
  leaf: X509Certificate,
  { bytes, payload }: SignedPayload,
  time: number,
): Pick<SignedEntity, 'key' | 'timestamps'> {
  const digest = createHash('sha256').update(payload).digest();
  const bundle = toMessageSignatureBundle({ digest, signature: bytes, certificate: leaf.raw });
  const { key } = toSignedEntity(bundle, payload);
  if (key.$case === 'certificate') {
    const { certificate } = key;
    // The library fails where a certificate has timestamps of certificate transparency and it has no key of their log.
    certificate.clone = () => Object.create(certificate, { extensions: { value: [] } });
  }
  // Only its time is read: where a log is required, its entry is verified as one of the signature's.
  const moment = {
    logId: NO_BYTES,
    logIndex: 0,
    signedEntryTimestamp: NO_BYTES,
    body: NO_BYTES,
    signer: NO_BYTES,
  };
  const tlogEntry = asLibraryEntry({ ...moment, integratedTime: time });
  return { key, timestamps: [{ $case: 'transparency-log', tlogEntry }] };
}
