/** The requirement `sigstoreSigned`: whether one of an image's signatures satisfies it. */
import type { KeyObject } from 'node:crypto';
import { hasCode } from '#core/errors.ts';
import { decodeBase64 } from './base64.ts';
import { isSignedBy, loadKeys, loadMaterial } from './keys.ts';
import type { Named } from './named.ts';
import { parsePayload } from './payload.ts';
import type { SigstoreSigned } from './policy.ts';
import { rejected, type Signature } from './signature.ts';
import { matchesIdentity } from './signed-identity.ts';

const SIGNATURE = 'dev.cosignproject.cosign/signature';
const SHOWN_REASONS = 3;

/** What the requirement trusts, loaded from its files. */
interface Trust {
  readonly requirement: SigstoreSigned;
  readonly keys: readonly KeyObject[];
  readonly rekorKeys: readonly KeyObject[];
  /** Certificates in PEM, of a requirement by Fulcio. */
  readonly ca: string;
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
    rekorKeys: await loadKeys(requirement.rekorKeys, where),
    ca: signer.type === 'fulcio' ? (await loadMaterial(signer.ca, where)).toString('latin1') : '',
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

export interface SignedPayload {
  readonly bytes: Buffer;
  readonly payload: Buffer;
  readonly annotations: ReadonlyMap<string, string>;
}

async function verifySigner(trust: Trust, signed: SignedPayload): Promise<void> {
  const { signer } = trust.requirement;
  if (signer.type === 'fulcio' || trust.rekorKeys.length > 0) {
    throw rejected('not supported');
  }
  if (!trust.keys.some((key) => isSignedBy(key, signed.payload, signed.bytes)))
    throw rejected('no trusted key has signed it');
}
