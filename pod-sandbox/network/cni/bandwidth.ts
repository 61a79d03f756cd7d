/** The kubelet's bandwidth annotations, in the form of the CNI capability `bandwidth`. */
import { CrispError } from '#core/errors.ts';
import { parseQuantity } from '#core/quantity.ts';

/** Bits a second, and bits. */
export interface Bandwidth {
  readonly ingressRate?: number;
  readonly ingressBurst?: number;
  readonly egressRate?: number;
  readonly egressBurst?: number;
}

/** No limit to a burst: the plugin's largest that every version takes, bits. */
const BURST = 2 ** 31 - 1;
/** Kubernetes allows 1k to 1P bits a second. */
const MIN_RATE = 1e3;
const MAX_RATE = 1e15;

/** undefined where the pod has none. Throws InvalidArgument where a rate is not a quantity in the allowed range. */
export function bandwidthOf(annotations: Readonly<Record<string, string>>): Bandwidth | undefined {
  const ingressRate = rate(annotations, 'kubernetes.io/ingress-bandwidth');
  const egressRate = rate(annotations, 'kubernetes.io/egress-bandwidth');
  if (ingressRate === undefined && egressRate === undefined) return undefined;
  return {
    ...(ingressRate === undefined ? {} : { ingressRate, ingressBurst: BURST }),
    ...(egressRate === undefined ? {} : { egressRate, egressBurst: BURST }),
  };
}

function rate(annotations: Readonly<Record<string, string>>, name: string): number | undefined {
  if (!Object.hasOwn(annotations, name)) return undefined;
  const text = annotations[name] ?? '';
  const bits = parseQuantity(text);
  if (bits !== undefined && bits >= MIN_RATE && bits <= MAX_RATE) return bits;
  throw new CrispError(
    'InvalidArgument',
    `annotation ${name} ${JSON.stringify(text)} is not a valid bandwidth`,
    {
      hint: 'give a quantity from 1k to 1P, such as 10M',
    },
  );
}
