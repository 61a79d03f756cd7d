/** What the RPCs use: the public interfaces of the three services, and facts about the daemon. */
import type { ImageService } from '#image-service/index.ts';
import type { PodSandboxes } from '#pod-sandbox/index.ts';
import type { RuntimeService } from '#runtime-service/index.ts';
import type { Streaming } from './streaming/index.ts';

/** What is wrong with the node or the daemon while it serves all the same. Has the form of linux' Trouble. */
export interface TroubleFacts {
  readonly reason: string;
  readonly message: string;
  readonly hint: string;
  /** Whether no pod can be made meanwhile. */
  readonly podsFail: boolean;
}

export interface HandlerFacts {
  readonly name: string;
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
}

/** Facts about the daemon that clients request; those of the configuration may change while it runs. */
export interface DaemonFacts {
  readonly version: string;
  readonly cgroupDriver: 'cgroupfs' | 'systemd';
  /** The handlers and their features, including the default with an empty name. From memory. */
  readonly handlers: () => readonly HandlerFacts[];
  /** The worst first. From memory. */
  readonly troubles: () => readonly TroubleFacts[];
  /** Where NRI plugins connect, and those that get events. From memory. */
  readonly nri: () => object;
  /** References of images that clients should not collect; a final `*` matches any suffix. */
  readonly pinnedImages: readonly string[];
  /** Returned by a verbose Status; must not contain secrets. */
  readonly config: object;
}

export interface CriServices {
  readonly streaming: Pick<Streaming, 'url'>;
  readonly pods: PodSandboxes;
  readonly containers: RuntimeService;
  readonly images: ImageService;
  readonly facts: DaemonFacts;
}
