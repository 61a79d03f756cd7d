/**
 * What containers need of their siblings, declared here and connected in daemon/services.ts: the sandbox that they live
 * in and the image that their root file system is made of.
 */
import type { ContainerId, ImageId, SandboxId } from '#core/ids.ts';
import type { AdjustmentOwners, ContainerAdjustment, ResourceChanges } from '#core/model/adjustment.ts';
import type { ImageForContainer } from '#core/model/image.ts';
import type { PodView } from '#core/model/pod.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from './container.ts';
import type { OciSpec } from './spec/oci.ts';

/** Gets what is measured of containers. */
export interface ContainerObserver {
  /** A container has ended, and the OOM killer has killed a process of it; `op` is what has found that. */
  oomKilled(op: Operation): void;
}

export interface Pods {
  get(id: SandboxId): PodView | undefined;
  /** A full id from a full id or a unique prefix; undefined where none or several match. */
  resolve(idOrPrefix: string): SandboxId | undefined;
  /** The container's cgroup: as the OCI runtime takes it in `cgroupsPath`, and as a path below the cgroup root. */
  containerCgroup(pod: SandboxId, container: ContainerId): { readonly oci: string; readonly path: string };
}

export interface Images {
  /** By id, unique short id, tag or digest; untagged means `:latest`. From memory. */
  find(reference: string): ImageForContainer | undefined;
}

export interface RootFileSystems {
  /**
   * Unpacks a layer's archive as `directory`/upper, where `mount` finds it: the writable layer of a container that is
   * restored, over the image's layers. Throws DataLoss, InvalidArgument or ResourceExhausted for an archive that is
   * damaged, leaves its root or exceeds the limits of layers.
   */
  restoreLayer(layer: { image: ImageId; directory: string; archive: string }, op: Operation): Promise<void>;
  /**
   * Mounts the image's layers at `target` (made if missing) under `directory`/upper, with `directory`/work beside it.
   * A retry after a crash finds the mount or makes it. With `userNamespace`, a pin, owners are numbered as it does; with
   * `label` all files have this SELinux label.
   * Throws NotFound where the image is gone, FailedPrecondition where the layers' file system cannot be id-mapped.
   */
  mount(
    root: {
      image: ImageId;
      directory: string;
      target: string;
      userNamespace?: string | undefined;
      label?: string | undefined;
    },
    op: Operation,
  ): Promise<void>;
  /** The same for an image volume: the layers alone, read-only. */
  mountVolume(
    volume: {
      image: ImageId;
      target: string;
      userNamespace?: string | undefined;
      label?: string | undefined;
    },
    op: Operation,
  ): Promise<void>;
  /** Unmounts; what is not mounted is success. The writable layer stays. */
  unmount(target: string): Promise<void>;
}

/** A container as plugins (NRI) see it. */
export interface PluginContainer {
  readonly record: ContainerRecord;
  /** Undefined: the bundle is gone, as after a reboot of the host. */
  readonly spec: OciSpec | undefined;
}

/** What the plugins want changed of a container that is being created. */
export interface CreateVerdict {
  readonly adjustment: ContainerAdjustment;
  readonly owners: AdjustmentOwners;
}

/** What plugins are asked and told of a container that is there. */
export type PluginEvent = 'created' | 'start' | 'started' | 'update' | 'updated' | 'stopped' | 'removed';

/**
 * The plugins that adjust containers (NRI). Each wait for a plugin has a deadline, after which it is dropped. What is awaited
 * must not be called in a container's turn: a plugin's answer may update other containers, which takes their turn. What returns
 * nothing never waits and never throws: those events are sent in the background, in their order for each pod.
 */
export interface ContainerPlugins {
  /** Before the spec is written. Undefined: nothing to change. Throws where a plugin refuses the container. */
  create(container: PluginContainer, op: Operation): Promise<CreateVerdict | undefined>;
  created(container: PluginContainer): void;
  /** Before the process starts. Throws where a plugin refuses. */
  start(container: PluginContainer, op: Operation): Promise<void>;
  started(container: PluginContainer): void;
  /** Before limits are applied: those to apply in their place, over `requested`. Throws where a plugin refuses. */
  update(
    container: PluginContainer,
    requested: LinuxResources,
    op: Operation,
  ): Promise<ResourceChanges | undefined>;
  updated(container: PluginContainer): void;
  /** It has ended, by itself or by StopContainer. Also before `removed` of one that has never run. */
  stopped(container: PluginContainer): void;
  removed(container: PluginContainer): void;
  /** Whether a plugin wants to know of anything, or a creation is to be held up or judged. From memory. */
  readonly listening: boolean;
  /** Whether a plugin wants this event: else the spec need not be read for it, nor the event be told. From memory. */
  wants(event: PluginEvent): boolean;
}

/** No plugins: for tests, and where NRI is off. */
export const noContainerPlugins: ContainerPlugins = {
  listening: false,
  wants: () => false,
  create: () => Promise.resolve(undefined),
  created() {},
  start: () => Promise.resolve(),
  started() {},
  update: () => Promise.resolve(undefined),
  updated() {},
  stopped() {},
  removed() {},
};
