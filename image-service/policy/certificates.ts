import { X509Certificate } from 'node:crypto';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;
/** Certificates in one text. */
const LIMIT = 100;
/** Intermediate certificates, of a policy and one signature; Fulcio's chains have one. */
const MAX_INTERMEDIATES = 16;
const CODE_SIGNING = '1.3.6.1.5.5.7.3.3';
const ANY_USAGE = '2.5.29.37.0';
/** The object identifier 2.5.29.30 in DER. */
const NAME_CONSTRAINTS = Buffer.from('0603551d1e', 'hex');

/** All certificates of a text in PEM; undefined where one is malformed, or where there are too many. */
export function parseCertificates(pem: string): readonly X509Certificate[] | undefined {
  const blocks = pem.match(CERTIFICATE) ?? [];
  if (blocks.length > LIMIT) return undefined;
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch {
    return undefined;
  }
}

/** Whether it may sign code: it has no restriction of its usage, or one that includes that. */
export const maySignCode = ({ keyUsage }: X509Certificate): boolean =>
  // Node calls the extended key usage so; it is undefined where the certificate has none.
  keyUsage === undefined || keyUsage.some((usage) => usage === CODE_SIGNING || usage === ANY_USAGE);

/** Limits the names that a CA may certify. They are not evaluated, so that such a CA is not used at all. */
export const hasNameConstraints = ({ raw }: X509Certificate): boolean => raw.includes(NAME_CONSTRAINTS);

/**
 * Those of the untrusted certificates that are CAs below the trusted ones. Their dates and the lengths of paths are checked
 * with the path of the signer's certificate.
 */
export function intermediatesBelow(
  trusted: readonly X509Certificate[],
  untrusted: readonly X509Certificate[],
): readonly X509Certificate[] {
  const accepted: X509Certificate[] = [];
  const remaining = new Set(untrusted.slice(0, MAX_INTERMEDIATES));
  const isIssued = (one: X509Certificate) =>
    [...trusted, ...accepted].some((ca) => ca.ca && one.checkIssued(ca) && one.verify(ca.publicKey));
  for (let size = -1; size !== remaining.size; ) {
    size = remaining.size;
    for (const one of remaining) {
      if (!one.ca || !maySignCode(one) || hasNameConstraints(one) || !isIssued(one)) continue;
      accepted.push(one);
      remaining.delete(one);
    }
  }
  return accepted;
}
