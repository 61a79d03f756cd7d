import { CrispError } from '#core/errors.ts';
import type { RegistryFailure } from './failure.ts';

/**
 * One error for the failures of all endpoints, in the order of the configuration. RegistryUnavailable, which the kubelet
 * treats as "the registry is down", only if all of them were unavailable; else the code of the last one that was not,
 * since the registry itself, which has the content of its mirrors, is the last.
 */
export function combineFailures(stage: string, failures: readonly RegistryFailure[]): CrispError {
  const telling = failures.findLast(({ code }) => code !== 'RegistryUnavailable') ?? failures.at(-1);
  if (!telling) {
    return new CrispError('FailedPrecondition', `${stage}: the registry has no endpoint for this`, {
      hint: 'give its entry in the config at least one endpoint with the capability, or none at all',
    });
  }
  if (failures.length === 1) return telling.toError();
  const each = failures.map(({ message, code }) => `${withoutStage(message, stage)} (${code})`);
  const message = `${stage}: none of ${failures.length} endpoints has served it: ${each.join('; ')}`;
  return new CrispError(telling.code, message, telling.hint === undefined ? {} : { hint: telling.hint });
}

/** Each failure names stage and endpoint: `manifest v1 of x from https://y: …`. */
function withoutStage(message: string, stage: string): string {
  const prefix = `${stage} from `;
  return message.startsWith(prefix) ? message.slice(prefix.length) : message;
}
