/** The limits that the CNI plugin `bandwidth` 1.1.1 sets: of its configuration, or else of the pod's annotations. */
import { createHash } from 'node:crypto';
import type { SandboxId } from '#core/ids.ts';
import type { LimitRequest, RateLimit } from '#linux/ports/kernel.ts';
import type { Attachment } from '../cni/attachment.ts';
import type { Bandwidth } from '../cni/bandwidth.ts';
import type { BridgePlan } from './plan.ts';

/** One of the two is there. `fromPod` by way of a device, see `deviceOf`. */
export type Limits = Pick<LimitRequest, 'toPod'> & { readonly fromPod: RateLimit | undefined };

/** The most bytes of a burst, and the least bits a second, which are one byte. */
const MAX_BURST = 2 ** 32 - 1;
const MIN_RATE = 8;

/** undefined: the pod is not limited. */
export function limitsOf(
  { bandwidth }: Pick<BridgePlan, 'bandwidth'>,
  capabilities: Attachment['capabilities'],
): Limits | undefined {
  const keys = bandwidth === 'capability' ? (capabilities['bandwidth'] as Bandwidth | undefined) : bandwidth;
  const { ingressRate = 0, ingressBurst = 0, egressRate = 0, egressBurst = 0 } = keys ?? {};
  const toPod = limitOf(ingressRate, ingressBurst);
  const fromPod = limitOf(egressRate, egressBurst);
  return toPod || fromPod ? { toPod, fromPod } : undefined;
}

const limitOf = (rate: number, burst: number): RateLimit | undefined =>
  rate === 0 && burst === 0 ? undefined : { rate, burst };

/** Whether the plugin takes them, too. */
export const areValid = ({ toPod, fromPod }: Limits): boolean =>
  [toPod, fromPod].every((limit) => limit === undefined || isValid(limit));

const isValid = ({ rate, burst }: RateLimit): boolean =>
  Number.isSafeInteger(rate) &&
  Number.isSafeInteger(burst) &&
  rate >= MIN_RATE &&
  burst > 0 &&
  Math.floor(burst / 8) < MAX_BURST;

/** The name of the device for what leaves the pod. */
export const deviceOf = (network: string, id: SandboxId): string =>
  `bwp${createHash('sha512').update(`${network}${id}`).digest('hex').slice(0, 12)}`;
