/**
 * The output of CNI plugins. It is untrusted: bounded, parsed and checked before it is used, and kept only as plain JSON
 * for the next plugin.
 */
import { isIP } from 'node:net';
import { CrispError } from '#core/errors.ts';
import { fromOldForm, isOldForm } from './old-result.ts';

export const cniVersions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

export type CniVersion = (typeof cniVersions)[number];

export const isCniVersion = (text: unknown): text is CniVersion =>
  cniVersions.some((known) => known === text);

/** Whether `prevResult` is part of DEL and CHECK (since CNI 0.4.0). */
export const hasResultInDel = (version: CniVersion): boolean => !/^0\.[123]\./.test(version);

type Json = Readonly<Record<string, unknown>>;

/** A checked result of ADD; unknown fields are kept for the next plugin. */
export interface CniResult extends Json {
  readonly cniVersion: CniVersion;
  readonly interfaces?: readonly Json[];
  readonly ips?: readonly (Json & { readonly address: string })[];
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isObjects = (value: unknown): value is readonly Json[] => Array.isArray(value) && value.every(isObject);

/** Parses what ADD printed into the wanted version's form; throws NetworkFailed with the reason, without the culprit. */
export function parseResult(text: string, wanted: CniVersion): CniResult {
  if (text.trim() === '') throw invalidResult('it printed nothing where a result was due');
  let printed: unknown;
  try {
    printed = JSON.parse(text);
  } catch {
    throw invalidResult(`it printed no JSON: ${excerpt(text)}`);
  }
  if (!isObject(printed)) throw invalidResult('it printed JSON that is not an object');
  const value = isOldForm(printed) ? fromOldForm(printed) : printed;
  const version = value['cniVersion'] || wanted;
  if (!isCniVersion(version)) throw invalidResult(`its result has cniVersion ${excerpt(String(version))}`);
  const interfaces = value['interfaces'] ?? [];
  if (!isObjects(interfaces)) throw invalidResult('interfaces of its result is not a list of objects');
  const ips = value['ips'] ?? [];
  if (!isObjects(ips)) throw invalidResult('ips of its result is not a list of objects');
  const converted = ips.map((ip) => convertIp(ip, interfaces.length, wanted));
  return { ...value, cniVersion: wanted, interfaces, ips: converted };
}

/** Up to 0.4.0 an address carries its family as `version`, from 1.0.0 on it must not. */
function convertIp(ip: Json, interfaces: number, wanted: CniVersion): Json & { readonly address: string } {
  const { address, version: _, ...others } = ip;
  const family = typeof address === 'string' ? isCidr(address) : 0;
  if (typeof address !== 'string' || family === 0) {
    throw invalidResult(`its result has the address ${excerpt(JSON.stringify(address) ?? 'undefined')}`);
  }
  const index = others['interface'];
  if (
    index !== undefined &&
    !(Number.isInteger(index) && Number(index) >= -1 && Number(index) < interfaces)
  ) {
    throw invalidResult(
      `its result's address ${address} names interface ${excerpt(String(index))}, which is not there`,
    );
  }
  return wanted.startsWith('0.') ? { version: `${family}`, ...others, address } : { ...others, address };
}

function isCidr(text: string): 0 | 4 | 6 {
  const [address = '', length = '', more] = text.split('/');
  const family = isIP(address);
  if (more !== undefined || !/^\d{1,3}$/.test(length) || Number(length) > (family === 6 ? 128 : 32)) return 0;
  return family === 4 || family === 6 ? family : 0;
}

/**
 * The pod's own addresses in the result's order, without prefix lengths and repeats. An address that belongs to an
 * interface outside the sandbox, such as a bridge's, is not the pod's.
 */
export function podIps(result: CniResult): string[] {
  const ips: string[] = [];
  for (const { address, interface: index } of result.ips ?? []) {
    const owner = typeof index === 'number' && index >= 0 ? result.interfaces?.[index] : undefined;
    const ip = address.split('/')[0] ?? '';
    if (owner && !owner['sandbox']) continue;
    if (!ips.includes(ip)) ips.push(ip);
  }
  return ips;
}

/** The error object that a failed plugin printed (CNI specification, section 5); undefined where it printed none. */
export function pluginError(
  stdout: string,
): { readonly code: number | undefined; readonly message: string } | undefined {
  try {
    const value: unknown = JSON.parse(stdout);
    if (!isObject(value) || typeof value['msg'] !== 'string') return undefined;
    const { code, msg, details } = value;
    const more = typeof details === 'string' && details !== '' ? `; ${details}` : '';
    return {
      code: typeof code === 'number' ? code : undefined,
      message: `${excerpt(msg + more)} (code ${excerpt(String(code ?? 'none'))})`,
    };
  } catch {
    return undefined;
  }
}

/** The message of a failed plugin: its error object where it printed one, else the end of its stderr. */
export const pluginMessage = (stdout: string, stderr: string): string =>
  pluginError(stdout)?.message ?? (excerpt(stderr.trim().slice(-1000) || stdout) || 'no message');

/** Untrusted text made fit for a message: one line, printable, bounded. */
export function excerpt(text: string): string {
  const line = text
    .slice(0, 2000)
    .replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\s]+/gu, ' ')
    .trim();
  return line.length > 500 ? `${line.slice(0, 500)}…` : line;
}

const invalidResult = (message: string): CrispError => new CrispError('NetworkFailed', message);
