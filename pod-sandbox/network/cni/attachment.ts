/**
 * One pod's attachment to one network. It is recorded before ADD with everything that ADD and DEL need, the
 * configuration included, so that DEL works when the configuration has changed or gone, and after a reboot.
 */
import type { NetworkConfig, PluginConfig } from './conflist.ts';
import type { CniResult } from './result.ts';

/** Progress of a failed ADD, by the indexes in the list of plugins, or the names of the parts in bridge/. */
export interface AddProgress {
  /** The parts that were started; others are not undone. */
  readonly begun: readonly string[];
  /** The parts that reported an error; a failure of their undo is ignored. */
  readonly refused: readonly string[];
}

/** The interface inside the pod whose addresses are the pod's; those of more networks are eth1, eth2, ... */
export const FIRST_INTERFACE = 'eth0';

export interface NativeHead {
  /** How many plugins, from the first on. */
  readonly plugins: number;
  /** Their addresses, which later plugins may have changed in the result; empty until ADD has succeeded. */
  readonly ips: readonly string[];
}

export interface Attachment {
  /** As it was at ADD. */
  readonly config: NetworkConfig;
  /** Name of the interface inside the pod. */
  readonly interfaceName: string;
  /** CNI_ARGS. */
  readonly args: string;
  /** What the plugins that declare the capability get as `runtimeConfig`. */
  readonly capabilities: Readonly<Record<string, unknown>>;
  /** native: made in this process, see in-process.ts, also for DEL; absent: by the plugins. */
  readonly way?: 'native';
  /** With way native, where only the first plugins of the list are made in this process; absent: all are. */
  readonly head?: NativeHead;
  /** The configuration with which flannel's part was made in this process; absent: see bridge/flannel.ts. */
  readonly delegate?: PluginConfig;
  /** Of an ADD that has failed; absent: it has succeeded, or the daemon ended meanwhile and all parts may exist. */
  readonly failedAdd?: AddProgress;
  /** What has written the rules of an ADD in this process that has succeeded. */
  readonly ruleBackends?: readonly ('iptables' | 'nftables')[];
  /** undefined until ADD has succeeded. */
  readonly result: CniResult | undefined;
  /** The pod's addresses without prefix lengths, the primary one first, no repeats. */
  readonly ips: readonly string[];
}
