/**
 * What containers need of their siblings, declared here and connected in daemon/main.ts: the sandbox that they live
 * in and the image that their root file system is made of.
 */
import type { ContainerId, ImageId, SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { IdMapping } from '#linux/ports/kernel.ts';

export type NamespaceMode = 'pod' | 'container' | 'node' | 'target';

/** The pod as a container sees it: a snapshot of committed state. */
export interface PodOfContainer {
  readonly id: SandboxId;
  readonly ready: boolean;
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly namespace: string;
    readonly attempt: number;
  };
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
  readonly logDirectory: string;
  readonly privileged: boolean;
  readonly hostname: string;
  readonly network: 'pod' | 'node';
  readonly ipc: 'pod' | 'node';
  /** The pod's own choice; `container` where nothing was shared. */
  readonly pid: 'pod' | 'container' | 'node';
  readonly userNamespace:
    | { readonly uids: readonly IdMapping[]; readonly gids: readonly IdMapping[] }
    | undefined;
  /** Pinned namespaces by kind; a kind that is the host's is absent. */
  readonly pins: Readonly<Partial<Record<'net' | 'ipc' | 'uts' | 'pid' | 'user', string>>>;
  /** The pod's own files on the host. */
  readonly files: {
    readonly hostname: string | undefined;
    readonly resolvConf: string | undefined;
    readonly shm: string | undefined;
  };
  /** Where the monitors of the pod stand: a leaf of the pod's cgroup. */
  readonly monitorCgroup: string;
}

export interface Pods {
  get(id: SandboxId): PodOfContainer | undefined;
  /** A full id from a full id or a unique prefix; undefined where none or several match. */
  resolve(idOrPrefix: string): SandboxId | undefined;
  /** The container's cgroup: as the OCI runtime wants it in `cgroupsPath`, and as a path below the cgroup root. */
  containerCgroup(pod: SandboxId, container: ContainerId): { readonly oci: string; readonly path: string };
}

/** What the image's config gives a container. */
export interface ImageForContainer {
  readonly id: ImageId;
  /** A tag where one is known, else a repo digest, else the id. */
  readonly name: string;
  /** `repo@sha256:…` where known, else the id: what users see as imageID. */
  readonly reference: string;
  readonly config: {
    readonly env: readonly string[];
    readonly entrypoint: readonly string[];
    readonly cmd: readonly string[];
    readonly workingDir: string;
    readonly user: string;
    readonly stopSignal: string | undefined;
    readonly volumes: readonly string[];
  };
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
    volume: { image: ImageId; target: string; userNamespace?: string | undefined },
    op: Operation,
  ): Promise<void>;
  /** Unmounts; what is not mounted is success. The writable layer stays. */
  unmount(target: string): Promise<void>;
}
