/** What each verb on a sandbox needs: the ports and the state, built once in `index.ts`; `settings.ts` has what a reload changes. */
import type { Leaks } from '#core/leaks.ts';
import type { Log } from '#core/operation.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import type { CgroupDriver } from './cgroup/driver.ts';
import type { Watches } from './lifecycle/watches.ts';
import type { ConfDirectory } from './network/cni/conf-directory.ts';
import type { IpPreference } from './network/cni/ip-preference.ts';
import type { PodRangesOptions } from './network/cni/pod-ranges.ts';
import type { Cni } from './network/network.ts';
import type { NetworkReadiness } from './network/readiness.ts';
import type { CniMode, Deadlines } from './options.ts';
import type { ContainersOfPod, PodPlugins, RuntimeHandlers } from './ports.ts';
import type { SandboxRecord } from './sandbox.ts';
import type { Sandboxes } from './sandboxes.ts';
import type { PodLabels } from './selinux/labels.ts';

export interface Context {
  readonly kernel: Kernel;
  readonly log: Log;
  readonly sandboxes: Sandboxes;
  readonly cgroups: CgroupDriver;
  /** The networks of handlers that have no directory of their own. */
  readonly networks: ConfDirectory;
  /** Those of all handlers. */
  readonly directories: Iterable<ConfDirectory>;
  networksOf(handler: string): ConfDirectory;
  readonly readiness: NetworkReadiness;
  readonly cni: Cni;
  readonly ranges: PodRangesOptions;
  readonly cniMode: CniMode;
  readonly ipPreference: IpPreference;
  readonly hostPorts: boolean;
  readonly containers: ContainersOfPod;
  readonly handlers: RuntimeHandlers;
  readonly plugins: PodPlugins;
  readonly watches: Watches;
  readonly labels: PodLabels;
  /** What could not be undone of sandboxes that are gone. */
  readonly leaks: Leaks<SandboxRecord>;
  /** Root of what survives a reboot. */
  readonly root: string;
  /** Root of the run directories. */
  readonly state: string;
  readonly shmBytes: number;
  readonly oomScoreAdj: number;
  readonly defaultSysctls: Readonly<Record<string, string>>;
  /** The node's resolv.conf. */
  readonly resolvConf: string;
  readonly deadlines: Deadlines;
}
