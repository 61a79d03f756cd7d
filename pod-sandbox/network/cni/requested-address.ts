/**
 * What CRI has no field for: the capabilities ips, mac, ipRanges and infinibandGUID of the CNI conventions, from annotations of the
 * pod, where `allowed_annotations` has them. They are for the plugins of the first network that declare them. containerd and CRI-O
 * pass none of these; with Multus its own annotation has them.
 */
import { isIP } from 'node:net';
import { type Annotated, type Annotations, findAnnotation } from '#core/allowed-annotations.ts';
import { CrispError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';

type Capabilities = Readonly<Record<string, unknown>>;

const PREFIX = 'cni.crisp/';

interface Capability {
  readonly name: string;
  /** undefined for a text that is not valid. */
  readonly parse: (text: string) => unknown;
  readonly hint: string;
}

const BYTE = '[0-9a-fA-F]{2}';
const bytes = (count: number) => (text: string) =>
  new RegExp(`^${BYTE}(:${BYTE}){${count - 1}}$`).test(text) ? text.toLowerCase() : undefined;

/** By the name behind the prefix. */
const CAPABILITIES: Readonly<Record<string, Capability>> = {
  ips: { name: 'ips', parse: parseIps, hint: 'give 10.1.0.5/24, or several joined by commas' },
  mac: { name: 'mac', parse: bytes(6), hint: 'give six bytes such as 02:42:ac:11:00:02' },
  'ip-ranges': {
    name: 'ipRanges',
    parse: parseRanges,
    hint: 'give host-local\'s ranges in JSON: [[{"subnet":"10.1.0.0/24"}]]',
  },
  'infiniband-guid': {
    name: 'infinibandGUID',
    parse: bytes(8),
    hint: 'give eight bytes such as c2:11:22:33:44:55:66:77',
  },
};

/**
 * Throws InvalidArgument for an annotation that is allowed and not valid. One that is not allowed, or of a pod on the node's network,
 * has no effect, which is logged.
 */
export function requestedCapabilities(
  annotations: Annotations,
  { allowed, ownNetwork, log }: { allowed: readonly string[]; ownNetwork: boolean; log: Log },
): Capabilities {
  const found = Object.entries(CAPABILITIES).flatMap(([key, capability]) => {
    const annotated = findAnnotation(annotations, [`${PREFIX}${key}`], allowed);
    return annotated ? [{ annotated, capability }] : [];
  });
  return Object.fromEntries(
    found.flatMap(({ annotated, capability }): [string, unknown][] => {
      const ignored = !annotated.allowed
        ? 'it is not in allowed_annotations'
        : !ownNetwork && "the pod is on the node's network";
      if (!ignored) return [[capability.name, parsedValue(annotated, capability)]];
      log.info({ annotation: annotated.key, why: ignored }, 'an annotation of the pod is ignored');
      return [];
    }),
  );
}

function parsedValue({ key, value }: Annotated, { parse, hint }: Capability): unknown {
  const parsed = parse(value.trim());
  if (parsed !== undefined) return parsed;
  throw new CrispError('InvalidArgument', `annotation ${key} ${JSON.stringify(value)} is not valid`, {
    hint,
  });
}

function parseIps(text: string): string[] | undefined {
  const ips = text.split(',').map((ip) => ip.trim());
  return ips.every((ip) => isIP(ip) || isCidr(ip)) ? ips : undefined;
}

function isCidr(text: unknown): boolean {
  const [address = '', length = '', more] = typeof text === 'string' ? text.split('/') : [];
  const family = isIP(address);
  return (
    family > 0 &&
    more === undefined &&
    /^\d{1,3}$/.test(length) &&
    Number(length) <= (family === 6 ? 128 : 32)
  );
}

/** Sets of ranges, one for each address. */
function parseRanges(text: string): unknown {
  try {
    const sets: unknown = JSON.parse(text);
    return isList(sets) && sets.every((set) => isList(set) && set.every(isRange)) ? sets : undefined;
  } catch {
    return undefined;
  }
}

const isList = (value: unknown): value is readonly unknown[] => Array.isArray(value) && value.length > 0;

function isRange(range: unknown): boolean {
  if (typeof range !== 'object' || range === null) return false;
  const { subnet, ...others } = range as Readonly<Record<string, unknown>>;
  return (
    isCidr(subnet) &&
    Object.entries(others).every(
      ([key, value]) =>
        ['rangeStart', 'rangeEnd', 'gateway'].includes(key) && typeof value === 'string' && isIP(value) > 0,
    )
  );
}
