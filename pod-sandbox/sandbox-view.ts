/** Sandboxes as clients and the other services see them. */
import type { SandboxId } from '#core/ids.ts';
import type { SelinuxLabels } from '#core/model/selinux.ts';
import type { ProcessRef } from '#linux/ports/kernel.ts';
import type { CgroupStats, LinkStats } from '#linux/ports/stats.ts';
import type { SandboxConfig } from './config.ts';
import type { SandboxLimits } from './lifecycle/update.ts';
import type { EndReason } from './sandbox.ts';

/** A committed sandbox as clients see it. */
export interface Sandbox {
  readonly id: SandboxId;
  /** As requested, unchanged. */
  readonly config: SandboxConfig;
  readonly runtimeHandler: string;
  /** One that is being made counts as `notReady`. */
  readonly state: 'ready' | 'notReady';
  /** Why it is not ready; undefined while it is ready or being made. */
  readonly reason: EndReason | undefined;
  /** The reason as text. */
  readonly detail: string;
  /** Nanoseconds since the epoch, above 0. */
  readonly createdAt: bigint;
  readonly network: {
    /** Empty on the node's network, and until the network is there. */
    readonly ip: string;
    /** Never repeats `ip`. */
    readonly additionalIps: readonly string[];
    /** Path of the pinned network namespace; undefined on the node's network. */
    readonly namespace: string | undefined;
    /** What the plugins of the first network have reported; undefined where it has no network of its own, or its ADD has not succeeded. */
    readonly result: object | undefined;
    /** In the order of their interfaces. The addresses of the first are the pod's for CRI, those of the others are known here alone. */
    readonly attachments: readonly {
      readonly network: string;
      readonly interfaceName: string;
      readonly ips: readonly string[];
    }[];
  };
  /** The pause process; undefined where none was started. */
  readonly process: ProcessRef | undefined;
  /** The pod's cgroup below the cgroup root. */
  readonly cgroup: string;
  /** The limits in force. */
  readonly limits: SandboxLimits;
  /** Of the pod, and of its containers that name none. Undefined: made without SELinux. */
  readonly selinux: SelinuxLabels | undefined;
}

/** `ready`, `notReady`: the new state was committed; `removed`: the sandbox is no longer listed. */
export interface SandboxEvent {
  readonly kind: 'created' | 'ready' | 'notReady' | 'removed';
  readonly sandbox: Sandbox;
}

export interface RunRequest {
  readonly config: SandboxConfig;
  /** Empty: the default handler. */
  readonly runtimeHandler: string;
}

/** A pod's stats at one time. */
export interface SandboxUsage {
  readonly sandbox: Sandbox;
  /** Sums over the pod's cgroup; undefined where it has none of its own, or it is gone. */
  readonly group: CgroupStats | undefined;
  /** Mean CPU since the read before, in billionths of a core; undefined at the first read. */
  readonly nanoCores: bigint | undefined;
  /** The pod's links without loopback, that of its address first; none on the node's network. */
  readonly links: readonly LinkStats[];
  /** Of the containers, and the pause process; monitors do not count. */
  readonly processes: number;
  /** When it was read; nanoseconds since the epoch. */
  readonly at: bigint;
}
