/** Quantities as Kubernetes writes them: `500M`, `1Gi`, `1e3`, `100m`. */

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
