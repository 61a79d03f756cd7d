/**
 * What the CNI plugin `tuning` 1.1.1 does: sysctls of the pod's network, and settings of its link. What the link had before is in
 * a file meanwhile, from which the plugin's DEL restores it. Where a later version's list of allowed sysctls is on the node its rules
 * count, too. `txQLen` is left to the plugin: 1.1.1 passes over it, later ones do not.
 */
import { mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import type { InspectRequest, PodLink, TuneRequest } from '#linux/ports/kernel.ts';
import type { Attachment } from '../cni/attachment.ts';
import type { PluginConfig } from '../cni/conflist.ts';
import { type Check, fits, frame, isBoolean, isMtu, isObject, isPath } from './forms.ts';

const DATA_DIR = '/run/cni/tuning';
const ALLOWLIST = '/etc/cni/tuning/allowlist.conf';

/** The settings of a configuration, those of its `args` included. */
export interface Tuning {
  readonly dataDir: string;
  /** By keys with dots, which may have IFNAME in them. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** undefined, or empty: it stays. */
  readonly mac: string | undefined;
  /** Whether the pod's own capability goes before `mac`; it does not before that of `args`. */
  readonly capability: boolean;
  /** 0: it stays. */
  readonly mtu: number;
  readonly promiscuous: boolean;
  readonly allMulticast: boolean | undefined;
}

interface Keys {
  readonly sysctl?: Readonly<Record<string, string>>;
  readonly mac?: string;
  readonly mtu?: number;
  readonly promisc?: boolean;
  readonly allmulti?: boolean;
}

const MAC = /^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$/i;
const isMac: Check = (value) => value === '' || (typeof value === 'string' && MAC.test(value));
const isSysctls: Check = (value) =>
  isObject(value) &&
  Object.entries(value).every(
    ([key, content]) =>
      /^net(?:\.[A-Za-z0-9_-]+)+$/.test(key) &&
      typeof content === 'string' &&
      /^[\x20-\x7e\t]{1,1000}$/.test(content),
  );
const keys = { sysctl: isSysctls, mac: isMac, mtu: isMtu, promisc: isBoolean, allmulti: isBoolean };
const isConfig = fits({
  ...frame,
  ...keys,
  dataDir: isPath,
  capabilities: fits({ mac: isBoolean }),
  args: fits({ cni: fits(keys) }),
});

interface Args {
  readonly args?: { readonly cni?: Keys };
}

export const isTuning: Check = (value) => {
  if (!isConfig(value)) return false;
  const { sysctl, args } = value as Keys & Args;
  return sysctl !== undefined || args?.cni?.sysctl === undefined; // the plugin crashes there
};

export function tuningOf(plugin: PluginConfig | undefined): Tuning | undefined {
  if (!plugin) return undefined;
  const { dataDir, capabilities, args, ...own } = plugin as PluginConfig & Keys & Args & { dataDir?: string };
  const given = args?.cni ?? {};
  const { mac, mtu = 0, promisc = false, allmulti } = { ...own, ...given };
  return {
    dataDir: dataDir ?? DATA_DIR,
    sysctls: { ...own.sysctl, ...given.sysctl },
    mac,
    capability: capabilities?.['mac'] === true && given.mac === undefined,
    mtu,
    promiscuous: promisc,
    allMulticast: allmulti,
  };
}

/** The MAC address that the pod's link gets; undefined: it keeps its own. */
export function macOf(
  tuning: Tuning | undefined,
  capabilities: Attachment['capabilities'],
): string | undefined {
  if (!tuning) return undefined;
  return (tuning.capability && String(capabilities['mac'] ?? '')) || tuning.mac || undefined;
}

/** Whether the plugin takes what the pod itself asks for. */
export const isValidTuning = (
  tuning: Tuning | undefined,
  capabilities: Attachment['capabilities'],
): boolean => isMac(macOf(tuning, capabilities) ?? '');

export function tuneRequest(
  tuning: Tuning,
  { netns, interfaceName }: Pick<InspectRequest, 'netns' | 'interfaceName'>,
  capabilities: Attachment['capabilities'],
): TuneRequest {
  const { sysctls, mtu, promiscuous, allMulticast } = tuning;
  return {
    netns,
    interfaceName,
    sysctls: Object.entries(sysctls).map(([key, value]) => ({ key: pathOf(key, interfaceName), value })),
    mac: macOf(tuning, capabilities),
    mtu: mtu === 0 ? undefined : mtu,
    promiscuous,
    allMulticast,
  };
}

/** Below `net`. */
const pathOf = (key: string, interfaceName: string): string =>
  key
    .replace('IFNAME', interfaceName)
    .replaceAll('.', '/')
    .replace(/^net\//, '');

/** Whether settings of the link, which have a file, are among them. */
const changesLink = ({ mac, mtu, promiscuous, allMulticast }: TuneRequest): boolean =>
  mac !== undefined || mtu !== undefined || promiscuous || allMulticast !== undefined;

/** The link of a pod. */
interface Owner {
  readonly id: string;
  readonly interfaceName: string;
}

const fileOf = ({ dataDir }: Tuning, { id, interfaceName }: Owner): string =>
  join(dataDir, `${id}_${interfaceName}.json`);

/** Writes down what the link has of the settings that are to change, as the plugin does; nothing where `signal` aborts. */
export async function keepSettings(
  tuning: Tuning,
  owner: Owner,
  wanted: TuneRequest,
  found: Pick<PodLink, 'mac' | 'mtu' | 'promiscuous' | 'allMulticast'>,
  signal: AbortSignal,
): Promise<void> {
  if (!changesLink(wanted)) return;
  const kept = {
    ...(wanted.mac === undefined ? {} : { mac: found.mac }),
    ...(wanted.promiscuous ? { promisc: found.promiscuous } : {}),
    ...(wanted.mtu === undefined ? {} : { mtu: found.mtu }),
    ...(wanted.allMulticast === undefined ? {} : { allmulti: found.allMulticast }),
  };
  try {
    await mkdir(tuning.dataDir, { recursive: true, mode: 0o600 });
    signal.throwIfAborted();
    await writeFile(fileOf(tuning, owner), JSON.stringify(kept, undefined, 1), { mode: 0o600, signal });
  } catch (error) {
    signal.throwIfAborted();
    throw new CrispError('NetworkFailed', `${fileOf(tuning, owner)} cannot be written`, {
      cause: error,
      hint: 'check the rights and the free space of that directory',
    });
  } finally {
    // The undo of an ADD that was cut off does not wait for this.
    if (signal.aborted) await forgetSettings(tuning, owner);
  }
}

/** To be called when the link goes, and its settings with it. May be repeated. */
export async function forgetSettings(tuning: Tuning | undefined, owner: Owner): Promise<void> {
  if (!tuning || !keepsFile(tuning)) return;
  await unlink(fileOf(tuning, owner)).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return;
    throw new CrispError('NetworkFailed', `${fileOf(tuning, owner)} cannot be removed`, {
      cause: error,
      hint: 'check the rights of that directory, and that its file system can be written',
    });
  });
}

const keepsFile = ({ mac, capability, mtu, promiscuous, allMulticast }: Tuning): boolean =>
  Boolean(mac) || capability || mtu !== 0 || promiscuous || allMulticast !== undefined;

/** What differs from the settings, in words. */
export function differencesOfTuning(wanted: TuneRequest, found: PodLink): string[] {
  const { interfaceName: name, mac, mtu, promiscuous, allMulticast } = wanted;
  const plain = (text: string | undefined) => text?.trim().replace(/\s+/g, ' ');
  const wrong = (what: string, is: unknown, due: unknown) => `its link ${name} has ${what} ${is}, not ${due}`;
  return [
    ...wanted.sysctls
      .map(({ key, value }) => ({ key, is: plain(found.sysctls[key]), due: plain(value) }))
      .filter(({ is, due }) => is !== undefined && is !== due)
      .map(({ key, is, due }) => `sysctl net.${key.replaceAll('/', '.')} is ${is}, not ${due}`),
    ...(mac === undefined || mac.toLowerCase() === found.mac
      ? []
      : [wrong('the MAC address', found.mac, mac)]),
    ...(mtu === undefined || mtu === found.mtu ? [] : [wrong('MTU', found.mtu, mtu)]),
    // One that others have switched on is none of tuning's.
    ...(promiscuous && !found.promiscuous ? [wrong('promiscuous mode', false, true)] : []),
    ...(allMulticast === undefined || allMulticast === found.allMulticast
      ? []
      : [wrong('all-multicast mode', found.allMulticast, allMulticast)]),
  ];
}

/** Throws NetworkFailed for a sysctl that the node's list does not allow. */
export async function requireAllowed(tuning: Tuning | undefined): Promise<void> {
  const refused = await refusedSysctl(Object.keys(tuning?.sysctls ?? {}));
  if (refused === undefined) return;
  const what = refused === 'unknown' ? 'the sysctls of tuning' : `sysctl ${refused.key} of tuning`;
  throw new CrispError('NetworkFailed', `${ALLOWLIST} does not allow ${what}`, {
    hint: 'add a line that matches it, or take it out of the CNI configuration',
    lasting: true,
  });
}

/** Expressions that mean the same in Go and here: literals, dots, classes, groups, alternatives and simple repetitions. */
const PLAIN = /^(?:[\w./^$|()*+-]|\\[.*+?$^|()[\]-]|\[[\w.-]+\])*$/;

/**
 * Whether the node's list allows the sysctls, as versions from 1.2 on read it: lines of regular expressions, of which one must match
 * a part of the key. Resolves with the first that is not allowed; with `unknown` where only the plugin can tell; undefined: all are,
 * or there is no list.
 */
export async function refusedSysctl(
  sysctls: readonly string[],
  path = ALLOWLIST,
): Promise<{ readonly key: string } | 'unknown' | undefined> {
  if (sysctls.length === 0) return undefined;
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw new CrispError('NetworkFailed', `the list of allowed sysctls ${path} cannot be read`, {
      cause: error,
      hint: 'mend its rights, or remove it: without it all are allowed',
    });
  });
  if (text === undefined) return undefined;
  if (text.startsWith('\ufeff')) return 'unknown'; // a part of the first expression there, white space here
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  try {
    if (!lines.every((line) => PLAIN.test(line))) return 'unknown';
    const allowed = lines.map((line) => new RegExp(line));
    const key = sysctls.find((one) => !allowed.some((expression) => expression.test(one)));
    return key === undefined ? undefined : { key };
  } catch {
    return 'unknown'; // no expression here
  }
}
