/** The requirement `sigstoreSigned`: whether one of an image's signatures satisfies it. */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { CrispError, describeError, hasCode } from '#core/errors.ts';
import { decodeBase64 } from './base64.ts';
import { hasNameConstraints, parseCertificates } from './certificates.ts';
import { isSignedBy, loadKeys, loadMaterial } from './keys.ts';
import type { Named } from './named.ts';
import { parsePayload } from './payload.ts';
import type { Material, SigstoreSigned } from './policy.ts';
import { policyError } from './read-policy.ts';
import { rejected, type Signature } from './signature.ts';
import { matchesIdentity } from './signed-identity.ts';
import type { SignedPayload } from './sigstore-entity.ts';

const SIGNATURE = 'dev.cosignproject.cosign/signature';
const SHOWN_REASONS = 3;

/** What the requirement trusts, loaded from its files. */
interface Trust {
  readonly requirement: SigstoreSigned;
  readonly keys: readonly KeyObject[];
  readonly rekorKeys: readonly KeyObject[];
  /** Of a requirement by certificates. */
  readonly ca: readonly X509Certificate[];
  readonly intermediates: readonly X509Certificate[];
}

/** Throws SignatureValidationFailed where no signature is accepted, FailedPrecondition where a key cannot be loaded. */
export async function requireSignature(
  requirement: SigstoreSigned,
  pulled: Named,
  signatures: readonly Signature[],
): Promise<void> {
  const { signer, where } = requirement;
  const trust: Trust = {
    requirement,
    keys: signer.type === 'keys' ? await loadKeys(signer.keys, where) : [],
    rekorKeys: await loadRekorKeys(requirement),
    ca: signer.type === 'keys' ? [] : await loadCertificates(signer.ca, where),
    intermediates:
      signer.type === 'pki' && signer.intermediates
        ? await loadCertificates(signer.intermediates, where)
        : [],
  };
  const reasons = new Map<string, string>();
  for (const signature of signatures) {
    try {
      await verifySignature(trust, pulled, signature);
      return;
    } catch (error) {
      if (!hasCode(error, 'SignatureValidationFailed')) throw error;
      reasons.set(error.message, error.hint);
    }
  }
  if (signatures.length === 0)
    throw rejected('a signature is required, and none was found', 'sign the image');
  const shown = [...reasons.keys()].slice(0, SHOWN_REASONS).join('; ');
  // The last signature is the newest.
  throw rejected(
    `none of ${signatures.length} signatures is accepted: ${shown}`,
    [...reasons.values()].at(-1),
  );
}

async function verifySignature(trust: Trust, pulled: Named, signature: Signature): Promise<void> {
  const encoded = signature.annotations.get(SIGNATURE);
  if (encoded === undefined) throw rejected(`it has no annotation ${SIGNATURE}`);
  const bytes = decodeBase64(encoded);
  if (!bytes) throw rejected('it is not base64');
  const signed = { bytes, payload: signature.payload, annotations: signature.annotations };
  await verifySigner(trust, signed);
  const { digest, reference } = parsePayload(signature.payload);
  if (digest !== signature.signed)
    throw rejected(`it is for ${digest.slice(0, 100)}, not for ${signature.signed}`);
  const { identity } = trust.requirement;
  if (matchesIdentity(identity, pulled, reference)) return;
  throw rejected(
    `its identity ${JSON.stringify(reference.slice(0, 300))} is refused by ${identity.type}`,
    'sign it for this name, or set signedIdentity: cosign signs a repository without a tag, which matchRepository accepts',
  );
}

/** The library throws errors of many kinds for what is malformed or does not verify. */
async function verifySigner(trust: Trust, signed: SignedPayload): Promise<void> {
  try {
    await verifyBySigner(trust, signed);
  } catch (error) {
    throw error instanceof CrispError ? error : rejected(describeError(error));
  }
}

async function verifyBySigner(trust: Trust, signed: SignedPayload): Promise<void> {
  const { rekorKeys, requirement } = trust;
  const { signer } = requirement;
  if (signer.type !== 'keys') {
    const { verifyFulcio, verifyPki } = await import('./signer-certificate.ts');
    if (signer.type === 'fulcio') verifyFulcio(signed, trust.ca, rekorKeys, signer);
    else verifyPki(signed, trust.ca, trust.intermediates, signer);
    return;
  }
  if (rekorKeys.length > 0) return verifyLogged(trust, signed);
  if (!trust.keys.some((key) => isSignedBy(key, signed.payload, signed.bytes)))
    throw rejected('no trusted key has signed it');
}

/** A signature by one of several keys: its entry names the one. */
async function verifyLogged({ keys, rekorKeys }: Trust, signed: SignedPayload): Promise<void> {
  const { verifyKeyLogged } = await import('./transparency-log.ts');
  let last: unknown;
  for (const key of keys) {
    try {
      return verifyKeyLogged(signed, key, rekorKeys);
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

async function loadRekorKeys({ rekorKeys, where }: SigstoreSigned): Promise<readonly KeyObject[]> {
  const keys = await loadKeys(rekorKeys, where);
  for (const { asymmetricKeyType } of keys) {
    if (asymmetricKeyType !== 'ec') throw policyError(`${where}: a Rekor public key is not an ECDSA key`);
  }
  return keys;
}

async function loadCertificates(ca: Material, where: string): Promise<readonly X509Certificate[]> {
  const what = `${where}: ${'path' in ca ? ca.path : 'the data of its CA'}`;
  const certificates = parseCertificates((await loadMaterial(ca, where)).toString('latin1'));
  if (!certificates || certificates.length === 0)
    throw policyError(`${what} has no valid certificates in PEM`);
  if (certificates.some(hasNameConstraints))
    throw policyError(`${what}: a CA has name constraints, which are not supported`);
  return certificates;
}
