/**
 * What containers need of their siblings, declared here and connected in daemon/services.ts: the sandbox that they live
 * in and the image that their root file system is made of.
 */
import type { ContainerId, ImageId, SandboxId } from '#core/ids.ts';
import type { ImageForContainer } from '#core/model/image.ts';
import type { PodView } from '#core/model/pod.ts';
import type { Operation } from '#core/operation.ts';

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
