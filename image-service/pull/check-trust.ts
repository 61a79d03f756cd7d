import type { Operation } from '#core/operation.ts';
import type { Reference } from '../image/reference.ts';
import type { TrustOptions } from '../options.ts';
import type { SignatureSource } from '../policy/signatures.ts';
import { checkImage } from '../policy/trust-policy.ts';
import type { Resolved } from './resolve.ts';

/**
 * Checks a resolved image before anything more of it is fetched, also where it is present: the policy may have changed.
 * Throws SignatureValidationFailed; see `checkImage`.
 */
export async function checkTrust(
  options: TrustOptions,
  reference: Reference,
  { documents }: Pick<Resolved, 'documents'>,
  source: SignatureSource,
  op: Operation,
): Promise<void> {
  const digests = [...new Set(documents.map(({ digest }) => digest))];
  await checkImage(options, { reference, digests }, source, op.signal);
}
