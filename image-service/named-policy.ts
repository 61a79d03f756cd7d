import { CrispError, describeError } from '#core/errors.ts';
import type { TrustOptions } from './options.ts';

/**
 * Throws FailedPrecondition, beginning with the option, where the options name a signature policy that cannot be used: no image
 * would be pulled. It is read anew at each pull all the same.
 */
export async function checkPolicy({ policy }: TrustOptions): Promise<void> {
  if (!policy?.required) return;
  const { readPolicyFile } = await import('./policy/read-policy.ts');
  try {
    await readPolicyFile(policy);
  } catch (error) {
    const hint = error instanceof CrispError ? { hint: error.hint } : {};
    throw new CrispError('FailedPrecondition', `image.policy_file: ${describeError(error)}`, {
      cause: error,
      ...hint,
    });
  }
}
