import type { ImageId } from '#core/ids.ts';
import type { ImageForContainer } from '#core/model/image.ts';
import type { Log, Operation } from '#core/operation.ts';
import type { PreparedChange } from '#core/prepared-change.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import type { Trouble } from '#linux/ports/troubles.ts';
import type { ImportRequest } from './archive/import.ts';
import type { CheckEvent } from './check/check.ts';
import type { Image } from './image/image.ts';
import type { ImageExplanation } from './names.ts';
import type { ImageServiceOptions } from './options.ts';
import type { CheckObserver, LayerUsers, PullObserver } from './ports.ts';
import type { PullProgress } from './pull/progress.ts';
import type { RegistryAuth } from './registry/credentials.ts';
import type { LayerForm } from './store/layer-record.ts';

/** Use of the file system that holds the images. */
export interface ImageFsUsage {
  /** Nanoseconds since the epoch, > 0. */
  readonly timestamp: bigint;
  readonly mountpoint: string;
  readonly usedBytes: bigint;
  readonly inodesUsed: bigint;
}

export interface LayerFacts {
  readonly form: LayerForm;
  readonly stored: Readonly<Record<LayerForm['form'], number>>;
  /** On the disk. */
  readonly bytes: Readonly<Record<LayerForm['form'], number>>;
}

export interface ImageRootFileSystems {
  /** Mounts the image's layers; see `RootFileSystems` in runtime-service/ports.ts. Throws NotFound. */
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
  /** Unpacks a container's writable layer before its mount; see `RootFileSystems` in runtime-service/ports.ts. */
  restoreLayer(layer: { image: ImageId; directory: string; archive: string }, op: Operation): Promise<void>;
  /** Mounts the image's layers read-only. Throws NotFound. */
  mountVolume(
    volume: {
      image: ImageId;
      target: string;
      userNamespace?: string | undefined;
      label?: string | undefined;
    },
    op: Operation,
  ): Promise<void>;
  /** Unmounts; what is not mounted is success. */
  unmount(target: string): Promise<void>;
}

export interface ImageService {
  /**
   * Checks new options, of which those of `reloadableOptions` count: for pulls and imports that begin after they are applied.
   * Throws FailedPrecondition for another registries.conf that is missing or faulty.
   */
  prepare(options: ImageServiceOptions): Promise<PreparedChange>;
  /** Reads the records, publishes the images and deletes leftovers of a crash. Before that, no image is known. */
  recover(op: Operation): Promise<void>;
  /**
   * Pulls by tag or digest and returns the image. Always queries the registry with the given credentials. Retries
   * join; a client's cancellation stops the transfer if no other caller waits, and leaves no visible image.
   */
  pull(request: { reference: string; auth?: RegistryAuth }, op: Operation): Promise<Image>;
  /** Imports the images of an archive of docker or OCI, all or none; see `importImages`. */
  import(request: ImportRequest, op: Operation): Promise<readonly Image[]>;
  /** The images as an archive of both docker and OCI, in pieces; see `exportImages`. */
  export(references: readonly string[], op: Operation): AsyncGenerator<Buffer>;
  /** What a pull of the name would ask, one entry for each image that it may mean. `ping`: asks the endpoints, too. */
  explain(request: { reference: string; ping: boolean }, op: Operation): Promise<readonly ImageExplanation[]>;
  /** All images, from memory. */
  list(): readonly Image[];
  /** By id, unique short id (3 characters or more), tag or digest. From memory; undefined where there is none. */
  status(reference: string): Image | undefined;
  /** The same, as CreateContainer needs it. */
  find(reference: string): ImageForContainer | undefined;
  /** Removes the image and all its names, given any of them. Unknown is success. Files are deleted in the background. */
  remove(reference: string, op: Operation): Promise<void>;
  /** A container that used the image is gone: if the image was removed meanwhile, its files are deleted. */
  released(id: ImageId): void;
  /** From memory: never waits. */
  fsInfo(): ImageFsUsage;
  /** How new layers are kept, and how many of each form there are. From memory; after `recover`. */
  layers(): LayerFacts;
  readonly rootfs: ImageRootFileSystems;
  /** The pulls in progress; of one image where it is named, as in `pull`. Throws InvalidArgument. */
  pulls(reference?: string): readonly PullProgress[];
  /** Compares what is on the disk with what the records promise, and repairs it; see `ImageChecks.run`. */
  check(request: { readonly repair: boolean }, op: Operation): AsyncGenerator<CheckEvent>;
  /** What checks have found, and threads that do not go on, while it lasts. From memory. */
  troubles(): readonly Trouble[];
  /** Deletes what no image, container or pull needs. Runs by itself after removals and failed pulls. */
  collect(): Promise<void>;
  /** Ends the workers and connections. */
  close(): Promise<void>;
}

/** The dependencies of the service. */
export interface ImageServicePorts {
  readonly kernel: Pick<Kernel, 'files' | 'mounts'>;
  readonly users: LayerUsers;
  readonly log: Log;
  /** Nothing is measured where it is absent. */
  readonly pulls?: PullObserver;
  readonly checks?: CheckObserver;
}
