/** The kubelet's bandwidth annotations, in the form of the CNI capability `bandwidth`. */
import { CrispError } from '#core/errors.ts';

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

const DECIMAL: Readonly<Record<string, number>> = { m: -3, '': 0, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 };
const BINARY = ['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

/** A Kubernetes quantity, rounded up to a whole number; undefined where it is not one. */
export function parseQuantity(text: string): number | undefined {
  const match = /^\+?(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d{1,2})|([a-zA-Z]{0,2}))$/.exec(text);
  if (!match) return undefined;
  const [, digits = '', exponent, suffix = ''] = match;
  if (exponent) return Math.ceil(Number(digits + exponent));
  const binary = BINARY.indexOf(suffix);
  if (binary !== -1) return Math.ceil(Number(digits) * 1024 ** (binary + 1));
  const power = Object.hasOwn(DECIMAL, suffix) ? DECIMAL[suffix] : undefined;
  return power === undefined ? undefined : Math.ceil(Number(`${digits}e${power}`));
}
