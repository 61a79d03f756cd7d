/** Decides at each pull and import whether an image may be used: the policy's files are read anew. */
import { CrispError } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import type { Reference } from '../image/reference.ts';
import type { TrustOptions } from '../options.ts';
import { type Requirement, requirementsFor } from './policy.ts';
import { readPolicyFile } from './read-policy.ts';
import { scopesOf } from './scopes.ts';
import type { Signature } from './signature.ts';
import { collectSignatures, type SignatureSource } from './signatures.ts';
import { requireSignature } from './sigstore.ts';

/** An image that a name resolved to. */
export interface ResolvedImage {
  readonly reference: Reference;
  /** The digest of what the name stands for, and that of the manifest chosen from it where that is an index. */
  readonly digests: readonly Digest[];
}

/**
 * Checks an image of a registry. A signature counts if it is of what the name stands for (an index, as cosign signs it) or of
 * the manifest that was chosen from it (what c/image checks): both determine every byte of the image. Throws
 * SignatureValidationFailed where the policy refuses the image, FailedPrecondition where the policy or a file that it
 * names is broken, and the registry's failures.
 */
export async function checkImage(
  { policy: file, registriesDir }: TrustOptions,
  image: ResolvedImage,
  source: SignatureSource,
  signal: AbortSignal,
): Promise<void> {
  const policy = file && (await readPolicyFile(file));
  if (!policy) return;
  const { reference, digests } = image;
  const scopes = scopesOf(reference);
  const pulled = { name: reference.repository, tag: reference.tag, digest: reference.digest };
  let signatures: readonly Signature[] | undefined;
  for (const requirement of requirementsFor(policy, 'docker', scopes)) {
    await refusing(requirement, `image ${reference.text}`, async () => {
      if (requirement.type !== 'sigstoreSigned') return refuseOther(requirement);
      const { locationOf, readSignatureLocations } = await import('./registries-d.ts');
      const location = locationOf(await readSignatureLocations(registriesDir), scopes);
      signatures ??= await collectSignatures({ path: reference.path, digests }, location, source, signal);
      const hint = location.attachments ? undefined : attachmentsOff(registriesDir);
      await requireSignature(requirement, pulled, signatures).catch((error: unknown) => {
        throw signatures?.length === 0 && hint !== undefined ? withHint(error, hint) : error;
      });
    });
  }
}

/** Checks an image of an archive, which has no signatures. */
export async function checkArchive(
  { policy: file }: Pick<TrustOptions, 'policy'>,
  transport: 'docker-archive' | 'oci-archive',
): Promise<void> {
  const policy = file && (await readPolicyFile(file));
  if (!policy) return;
  for (const requirement of requirementsFor(policy, transport, [])) {
    await refusing(requirement, `image archive (${transport})`, () => {
      if (requirement.type === 'sigstoreSigned')
        throw new CrispError('SignatureValidationFailed', 'a signature is required, and archives have none');
      refuseOther(requirement);
    });
  }
}

function refuseOther(requirement: Exclude<Requirement, { type: 'sigstoreSigned' }>): void {
  if (requirement.type === 'insecureAcceptAnything') return;
  if (requirement.type === 'unsupported') {
    throw new CrispError('SignatureValidationFailed', `${requirement.what} is not supported`, {
      hint: 'require sigstoreSigned instead, by keys or fulcio',
    });
  }
  throw new CrispError('SignatureValidationFailed', 'all its images are rejected', {
    hint: 'if the image is to be used, add its scope to the policy',
  });
}

/** Names the image and the requirement in a refusal; other errors are passed on. */
async function refusing(
  { where }: Requirement,
  what: string,
  check: () => void | Promise<void>,
): Promise<void> {
  try {
    await check();
  } catch (error) {
    if (!(error instanceof CrispError) || error.code !== 'SignatureValidationFailed') throw error;
    const { message, hint, cause } = error;
    throw new CrispError('SignatureValidationFailed', `${what} is refused by ${where}: ${message}`, {
      hint,
      cause,
    });
  }
}

const attachmentsOff = (registriesDir: string): string =>
  `to read the signatures in the registry set use-sigstore-attachments in ${registriesDir}`;

const withHint = (error: unknown, hint: string): unknown =>
  error instanceof CrispError
    ? new CrispError(error.code, error.message, { cause: error.cause, hint })
    : error;
