/**
 * A CNI configuration made from a template when the node learns its range of pod addresses (UpdateRuntimeConfig). The
 * template is a configuration in JSON with three placeholders:
 *
 *   "{{subnet}}"  the first range, also inside a longer text
 *   "{{ranges}}"  the value of host-local's `ranges`: one set for each family
 *   "{{routes}}"  the value of host-local's `routes`: the default route of each family
 */
import { isIP } from 'node:net';
import { CrispError } from '#core/errors.ts';

/** The largest prefix length by family. */
const WIDTH: Readonly<Record<number, number>> = { 4: 32, 6: 128 };
const DEFAULT_ROUTE: Readonly<Record<number, string>> = { 4: '0.0.0.0/0', 6: '::/0' };

export interface Cidr {
  readonly family: 4 | 6;
  readonly text: string;
}

/** One range, or one of each family joined by a comma; none where the text is empty. Throws InvalidArgument. */
export function parseCidrs(text: string): Cidr[] {
  if (text.trim() === '') return [];
  const cidrs = text.split(',').map((part) => parseCidr(part.trim()));
  if (cidrs.length > 2 || new Set(cidrs.map(({ family }) => family)).size < cidrs.length)
    throw refuse(text, 'names a family twice');
  return cidrs;
}

function parseCidr(text: string): Cidr {
  const [address = '', length = '', ...more] = text.split('/');
  const family = isIP(address);
  const width = WIDTH[family];
  const isLength = /^\d{1,3}$/.test(length) && width !== undefined && Number(length) <= width;
  if (more.length > 0 || !isLength || address.includes('%'))
    throw refuse(text, 'is not a range of addresses');
  return { family: family as 4 | 6, text: `${address}/${Number(length)}` };
}

const refuse = (text: string, reason: string): CrispError =>
  new CrispError('InvalidArgument', `pod_cidr ${JSON.stringify(text)} ${reason}`, {
    hint: 'give 10.1.0.0/24, or one range of each family joined by a comma',
  });

/** The configuration's text. Throws FailedPrecondition where the template is not JSON of an object. */
export function fillTemplate(template: string, cidrs: readonly Cidr[], source: string): string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(template);
  } catch (error) {
    throw broken(source, error);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw broken(source);
  return `${JSON.stringify(fill(parsed, cidrs), undefined, 2)}\n`;
}

const broken = (source: string, cause?: unknown): CrispError =>
  new CrispError('FailedPrecondition', `cni.template: ${source} is not a JSON object`, {
    cause,
    hint: 'write a CNI configuration with "{{ranges}}", "{{routes}}" or "{{subnet}}" in it',
  });

function fill(value: unknown, cidrs: readonly Cidr[]): unknown {
  if (Array.isArray(value)) return value.map((item) => fill(item, cidrs));
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fill(item, cidrs)]));
  if (typeof value !== 'string') return value;
  if (value === '{{ranges}}') return cidrs.map(({ text }) => [{ subnet: text }]);
  if (value === '{{routes}}') return cidrs.map(({ family }) => ({ dst: DEFAULT_ROUTE[family] }));
  return value.replaceAll('{{subnet}}', () => cidrs[0]?.text ?? '');
}
