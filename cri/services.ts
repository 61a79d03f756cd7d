/** What the RPCs are served from: the three services' public faces and the daemon's own facts. */
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

/** Facts of the daemon that clients ask for; fixed while it runs. */
export interface DaemonFacts {
  readonly version: string;
  readonly cgroupDriver: 'cgroupfs' | 'systemd';
  /** The handlers and what they can do, the empty name of the default among them. From memory. */
  readonly handlers: () => readonly HandlerFacts[];
  /** The worst first. From memory. */
  readonly troubles: () => readonly TroubleFacts[];
  /** References of images that clients should not collect; a final `*` stands for any ending. */
  readonly pinnedImages: readonly string[];
  /** Shown by a verbose Status; must hold no secret. */
  readonly config: object;
}

export interface CriServices {
  readonly streaming: Pick<Streaming, 'url'>;
  readonly pods: PodSandboxes;
  readonly containers: RuntimeService;
  readonly images: ImageService;
  readonly facts: DaemonFacts;
}
