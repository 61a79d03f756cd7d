/**
 * What of a pod's attachment crisp makes in its own process (bridge/), and for which plugins it executes programs: the list
 * as far as all of its plugins are known here, from the first on, the others by their programs. Decided before ADD and
 * recorded as the attachment's `way` and `head`, which later calls, DEL among them, pass in.
 */
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { parseIp } from '#linux/net/ip-address.ts';
import type { CniMode } from '../options.ts';
import { areValid, limitsOf } from './bridge/bandwidth.ts';
import {
  ANY_SUBNET,
  delegateOf,
  flannelOf,
  forgetDelegate,
  keepDelegate,
  keptDelegate,
  readSubnet,
} from './bridge/flannel.ts';
import { firewallOf } from './bridge/forward-rules.ts';
import type { Forwarding } from './bridge/forwarding.ts';
import { bridgePlan } from './bridge/plan.ts';
import { publishedPorts } from './bridge/request.ts';
import { isValidTuning, refusedSysctl, tuningOf } from './bridge/tuning.ts';
import type { Attachment } from './cni/attachment.ts';
import type { PluginConfig } from './cni/conflist.ts';
import { partName } from './cni/plugin-call.ts';

type Network = Pick<Attachment, 'config' | 'capabilities'>;

/**
 * How many plugins of the list, from the first on, crisp makes itself. `mode`: the option cni.native, or the recorded way;
 * a recorded configuration that this version of crisp no longer supports is undone by the plugins.
 */
export function lengthInProcess(
  mode: CniMode | Attachment['way'],
  network: Network & Pick<Attachment, 'head'>,
): number {
  const all = network.config.plugins.length;
  const supports = (length: number) => isSupported(withDelegate(firstOf(network, length), undefined));
  if (mode === 'native') {
    const recorded = network.head?.plugins ?? all;
    return supports(recorded) ? recorded : 0;
  }
  if (mode !== 'auto') return 0;
  let length = all;
  while (length > 0 && !supports(length)) length--;
  return length;
}

/** Whether crisp makes all of it. */
export const isInProcess = (mode: CniMode | Attachment['way'], network: Network): boolean =>
  lengthInProcess(mode, network) === network.config.plugins.length;

/** An attachment's two parts. */
export interface Split {
  /**
   * For this process: as an attachment to a network of these plugins alone, with flannel's delegate in its place. undefined:
   * there are none.
   */
  readonly head: Attachment | undefined;
  /** For the plugins' programs. */
  readonly tail: readonly PluginConfig[];
}

interface Limit {
  readonly op: Operation;
  /** Milliseconds. */
  readonly limit: number;
}

interface AddLimit extends Limit {
  /** Tells what the plugin firewall would do on this node. */
  readonly forwarding: Pick<Forwarding, 'isAvailable'>;
}

/** Throws NetworkFailed where flannel's daemon has not started. */
export async function splitForAdd(id: SandboxId, attachment: Attachment, limit: AddLimit): Promise<Split> {
  const length = await lengthForAdd(attachment, limit);
  if (length === 0) return allExecuted(attachment);
  const head = firstOf(attachment, length);
  const tail = attachment.config.plugins.slice(length);
  const flannel = flannelOf(head.config);
  if (!flannel) return { head, tail };
  return within(limit, async () => {
    const delegate = delegateOf(flannel, head.config, await readSubnet(flannel, head.config));
    const made = { ...withDelegate(head, delegate), delegate };
    if (!isSupported(made)) return allExecuted(attachment);
    await keepDelegate(id, flannel, delegate);
    return { head: made, tail };
  });
}

/**
 * Up to tuning where the node has a list of allowed sysctls that only the plugin can read, and up to firewall where that would not
 * use iptables.
 */
async function lengthForAdd(attachment: Attachment, { op, limit, forwarding }: AddLimit): Promise<number> {
  const length = lengthInProcess(attachment.way, attachment);
  const first = attachment.config.plugins.slice(0, length);
  const lengths = [length];
  const tuning = first.findIndex(({ type }) => type === 'tuning');
  const keys = Object.keys(tuningOf(first[tuning])?.sysctls ?? {});
  if (keys.length > 0) {
    const refused = await op.deadline('CNI tuning', limit, () => refusedSysctl(keys));
    if (refused === 'unknown') lengths.push(tuning);
  }
  const at = first.findIndex(({ type }) => type === 'firewall');
  const firewall = firewallOf(first[at]);
  if (firewall) {
    const isOwn = await op.deadline('CNI firewall', limit, (signal) =>
      forwarding.isAvailable(firewall, signal),
    );
    if (!isOwn) lengths.push(at);
  }
  return Math.min(...lengths);
}

/** With flannel's delegate of the ADD. */
export async function splitForDelete(id: SandboxId, attachment: Attachment, limit: Limit): Promise<Split> {
  const length = Math.min(lengthInProcess(attachment.way, attachment), firstProgram(attachment));
  if (length === 0) return allExecuted(attachment);
  const { head: recorded, ips, delegate } = attachment;
  const head = { ...firstOf(attachment, length), ips: recorded?.ips ?? ips };
  const tail = attachment.config.plugins.slice(length);
  const flannel = flannelOf(head.config);
  if (!flannel) return { head, tail };
  return within(limit, async () => {
    const known = delegate ?? (await keptDelegate(id, flannel)) ?? (await lostDelegate(flannel, head));
    const made = withDelegate(head, known);
    return isSupported(made) ? { head: made, tail } : allExecuted(attachment);
  });
}

/** In an ADD that failed: the first plugin whose program was started, since the ADD went no further in this process. */
function firstProgram({ config, failedAdd }: Attachment): number {
  const at = config.plugins.findIndex((plugin) => failedAdd?.begun.includes(partName(config, plugin)));
  return at === -1 ? Infinity : at;
}

/**
 * The delegate is kept before it has any effect: without one there is none, or the file was lost, and what others may have
 * made is searched for, rules only of a subnet that is known.
 */
async function lostDelegate(flannel: PluginConfig, { config }: Attachment): Promise<PluginConfig> {
  const subnet = await readSubnet(flannel, config).catch(() => ({ ...ANY_SUBNET, ipMasq: true }));
  return delegateOf(flannel, config, subnet);
}

const within = <T>({ op, limit }: Limit, act: () => Promise<T>): Promise<T> =>
  op.deadline('CNI flannel', limit, act);

const allExecuted = ({ config }: Attachment): Split => ({ head: undefined, tail: config.plugins });

/** To be called when the head is undone. */
export async function forgetHead(id: SandboxId, { config }: Attachment): Promise<void> {
  const flannel = flannelOf(config);
  if (flannel) await forgetDelegate(id, flannel);
}

/** The attachment after an ADD, with what the undo of its head needs. */
export function withHead(attachment: Attachment, made: Attachment | undefined): Attachment {
  if (!made) {
    const { way: _way, head: _head, ...executed } = attachment; // what was planned for this process, the programs have made
    return executed;
  }
  const { config, delegate, ips, ruleBackends } = made;
  const plugins = config.plugins.length;
  const isWhole = plugins === attachment.config.plugins.length;
  return {
    ...attachment,
    ...(delegate ? { delegate } : {}),
    ...(ruleBackends ? { ruleBackends } : {}),
    ...(isWhole ? {} : { head: { plugins, ips } }),
  };
}

const firstOf = <T extends Network>(network: T, length: number): T => ({
  ...network,
  config: { ...network.config, plugins: network.config.plugins.slice(0, length) },
});

/** `delegate` undefined: one that stands for any. */
function withDelegate<T extends Network>(network: T, delegate: PluginConfig | undefined): T {
  const { config } = network;
  const flannel = flannelOf(config);
  if (!flannel) return network;
  const bridge = delegate ?? delegateOf(flannel, config, ANY_SUBNET);
  const plugins = config.plugins.map((plugin) => (plugin === flannel ? bridge : plugin));
  return { ...network, config: { ...config, plugins } };
}

function isSupported({ config, capabilities }: Network): boolean {
  const plan = bridgePlan(config);
  if (!plan || !isValidTuning(plan.tuning, capabilities)) return false;
  const limits = limitsOf(plan, capabilities);
  if (limits && !areValid(limits)) return false;
  if (!plan.portmap) return true;
  return publishedPorts(capabilities).every(
    ({ hostIP, protocol }) =>
      ['tcp', 'udp', 'sctp'].includes(protocol) && (hostIP === undefined || parseIp(hostIP)),
  );
}
