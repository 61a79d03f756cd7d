import { CrispError } from '#core/errors.ts';
import {
  checkVerdict,
  type DefaultValidatorOptions,
  defaultValidator,
  type Validation,
  validationRequest,
} from './adjust/index.ts';
import type { Plugin } from './plugin.ts';

/**
 * Throws where the default validator or a plugin refuses an adjustment. `validators`: those that there were when the first plugin was
 * asked.
 */
export async function validate(
  of: Validation,
  validators: readonly Plugin[],
  options: DefaultValidatorOptions,
): Promise<void> {
  defaultValidator(options, of);
  if (validators.length === 0) return;
  const request = validationRequest(of);
  const asked = validators.map(async (plugin) => {
    const answer = await plugin.ask('ValidateContainerAdjustment', request);
    if (answer) checkVerdict(plugin.id, answer);
    // Nor has one consented that was dropped before it could be asked.
    else if (plugin.state === 'ended' && plugin.subscription.isValidator) throw lost(plugin.id);
  });
  // All have answered when the container goes on or is given up.
  const failed = (await Promise.allSettled(asked)).find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') throw failed.reason;
}

const lost = (plugin: string): CrispError =>
  new CrispError(
    'FailedPrecondition',
    `NRI plugin ${plugin}, which validates containers, has given no verdict and was dropped`,
    {
      hint: 'see the log of that plugin and start it again; without it containers are made that it has not validated',
    },
  );
