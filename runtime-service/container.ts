import type { ContainerId, ImageId, SandboxId } from '#core/ids.ts';
import type { AdjustmentOwners } from '#core/model/adjustment.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { SecurityProfile } from '#core/model/security.ts';
import type { SelinuxLabels } from '#core/model/selinux.ts';
import type { Intent } from '#core/undo.ts';
import type { ProcessRef } from '#linux/ports/kernel.ts';
import type { ContainerMetadata, Labels, MountRequest } from './config.ts';
import type { OtherLimits } from './spec/other-limits.ts';

/**
 * The life of a container:
 *
 *     CreateContainer            StartContainer                 process ends
 *   creating ──────▶ created ──────▶ starting ──────▶ running ──────▶ exited
 *      │                │               │  OCI create or                ▲
 *      └─ rollback:     │               │  start fails: 128 StartError  │
 *         gone          └───────────────┴───────────────────────────────┤
 *                          RemoveContainer from any state: ends what runs, then the record is gone
 *
 * A container whose record is running and whose exit is unknown (the host rebooted, or monitor and container were both
 * killed) is shown as exited with code 255 and reason Unknown.
 */
export type ContainerState = 'creating' | 'created' | 'starting' | 'running' | 'exited';

/** Effects of a container outside its record, in the order in which they are made. */
export type ContainerIntent =
  | (Intent & { readonly kind: 'bundle'; readonly path: string })
  | (Intent & { readonly kind: 'rootfs'; readonly target: string })
  | (Intent & { readonly kind: 'image-volume'; readonly target: string })
  /** Where a checkpoint that is being made puts its parts. */
  | (Intent & { readonly kind: 'checkpoint'; readonly path: string })
  /** The parts of the checkpoint that the container is to be started from; gone when it runs. */
  | (Intent & { readonly kind: 'restore'; readonly path: string })
  | (Intent & { readonly kind: 'cgroup'; readonly path: string })
  | (Intent & { readonly kind: 'runtime'; readonly handler: string })
  | (Intent & { readonly kind: 'monitor'; readonly cgroup: string });

export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  /** Sorted, the primary group among them. */
  readonly supplementalGroups: readonly number[];
}

export interface ContainerExit {
  /** Exit code, 128 + signal, 128 for a failed start, 255 where unknown. */
  readonly code: number;
  readonly reason: 'Completed' | 'Error' | 'OOMKilled' | 'StartError' | 'Unknown';
  readonly message: string;
  /** Nanoseconds since the epoch. */
  readonly finishedAt: bigint;
}

/** What is on disk; version 1. Environment and arguments live in the bundle alone: they may contain secrets. */
export interface ContainerRecord {
  readonly version: 1;
  readonly id: ContainerId;
  readonly sandboxId: SandboxId;
  /** SHA-256 of the request: distinguishes a retry from another container of the same name. */
  readonly configHash: string;
  readonly metadata: ContainerMetadata;
  readonly state: ContainerState;
  readonly handler: string;
  readonly image: {
    readonly id: ImageId;
    readonly name: string;
    readonly reference: string;
    readonly requested: string;
    readonly userSpecified: string;
  };
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly mounts: readonly MountRequest[];
  /** The images of image volumes, by the path of their mount; absent where there are none. */
  readonly volumeImages?: readonly {
    readonly containerPath: string;
    readonly id: ImageId;
    readonly reference: string;
  }[];
  readonly user: ContainerUser;
  readonly resources: LinuxResources;
  /** Limits that are being put in force: an intent, finished or undone after a crash. */
  readonly update?: LinuxResources;
  /** Limits for which CRI has no field. Absent: none was ever set. */
  readonly otherLimits?: OtherLimits;
  /** Of `update`. Absent: these stay. */
  readonly otherUpdate?: OtherLimits;
  /** As requested, for NRI plugins. Absent: none was, and in records of earlier versions. */
  readonly seccompProfile?: SecurityProfile;
  /** Names as requested, for NRI plugins. Absent: none, and in records of earlier versions. */
  readonly cdiDevices?: readonly string[];
  /** What NRI plugins have changed at the creation; their values are in the bundle alone. Absent: nothing. */
  readonly nri?: { readonly owners: AdjustmentOwners };
  /** Why an NRI plugin has it stopped: an intent, and part of the exit's message. */
  readonly eviction?: string;
  readonly stopSignal: string;
  /** Absolute; empty where nothing is logged. */
  readonly logPath: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  /** Whether the container's first process shares its pid namespace with others. */
  readonly sharedPid: boolean;
  /** Whose pid namespace it joins; absent where it is no other container's, and in records of earlier versions. */
  readonly pidTarget?: ProcessRef;
  readonly cgroup: { readonly oci: string; readonly path: string };
  /** Absent: none. Its categories are no other pod's while the record is there. */
  readonly selinux?: SelinuxLabels;
  /** Nanoseconds since the epoch, never changing. */
  readonly createdAt: bigint;
  readonly startedAt: bigint | undefined;
  readonly exit: ContainerExit | undefined;
  /** The container's first process, while it runs. */
  readonly process: ProcessRef | undefined;
  readonly monitor: ProcessRef | undefined;
  readonly intents: readonly ContainerIntent[];
}

/** Name and attempt are unique in a pod: a retry of the kubelet comes with the same pair. */
export const containerKey = (sandbox: SandboxId, metadata: ContainerMetadata): string =>
  `${sandbox}/${metadata.name}/${metadata.attempt}`;

/** The images that a container and its image volumes use. */
export const imagesOf = ({ image, volumeImages = [] }: ContainerRecord): ImageId[] => [
  image.id,
  ...volumeImages.map(({ id }) => id),
];

/** Whether processes of the container may live. */
export const mayRun = (record: ContainerRecord): boolean =>
  record.state === 'running' || record.state === 'starting';

/** Whether the container's cgroup is its own: one that has ended, and of which nothing is left to be ended, has none any more. */
export const holdsCgroup = ({ state, intents }: ContainerRecord): boolean =>
  state !== 'exited' || intents.some(({ kind }) => kind === 'cgroup' || kind === 'runtime');

/** The present time in nanoseconds since the epoch; milliseconds are what the clock of Node offers. */
export { wallClock as nowNanoseconds } from '#core/created-at.ts';
