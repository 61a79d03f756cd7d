/**
 * What pods need of others: the containers that live in them, the handlers that run those, and who measures. Connected in
 * daemon/services.ts.
 */
import { codeOf, type ErrorCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { SandboxMetadata } from '#core/model/pod.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { Operation } from '#core/operation.ts';

export interface ContainersOfPod {
  /**
   * Kills all containers of the pod without grace; resolves when each is EXITED and its monitor has written its exit.
   * None, or all stopped: success at once.
   */
  stopAll(pod: SandboxId, op: Operation): Promise<void>;
  /** Removes all containers of the pod, with their names and writable layers. None: success at once. */
  removeAll(pod: SandboxId, op: Operation): Promise<void>;
  /** The SELinux contexts in the records of containers, which may differ from their pod's. From memory. */
  labels(): Iterable<string>;
}

export interface RuntimeHandlers {
  /** The handler of pods that name none, as it is now. */
  readonly defaultName: string;
  /**
   * Throws FailedPrecondition where the handler, or this node, does not support a user namespace for a pod. The empty
   * name is the default handler. May execute the handler's program after an update of it.
   */
  checkUserNamespace(handler: string): Promise<void>;
}

/** A call of a CNI plugin that has ended, or of what crisp does in the place of a list of them. */
export interface NetworkCall {
  /** As the node's configuration names it; of a network that crisp makes itself the first of the list. */
  readonly plugin: string;
  readonly command: 'ADD' | 'DEL' | 'CHECK' | 'STATUS' | 'GC';
  /** Who made it: the plugin's program, or crisp. */
  readonly way: 'exec' | 'native';
  readonly ms: number;
  /** Undefined: it has succeeded. */
  readonly code: ErrorCode | undefined;
}

/** Gets what is measured of networks. */
export interface NetworkObserver {
  called(call: NetworkCall, op: Operation): void;
  /** Attachments without a pod that were released, and that could not be. */
  collected(found: { readonly released: number; readonly failed: number }): void;
}

/** Nothing is measured. */
export const noNetworkObserver: NetworkObserver = { called() {}, collected() {} };

/** Runs a call and reports its end. */
export async function observed<T>(
  observer: NetworkObserver,
  call: Pick<NetworkCall, 'plugin' | 'command' | 'way'>,
  op: Operation,
  act: () => Promise<T>,
): Promise<T> {
  const started = performance.now();
  const report = (code: ErrorCode | undefined) =>
    observer.called({ ...call, ms: performance.now() - started, code }, op);
  try {
    const value = await act();
    report(undefined);
    return value;
  } catch (error) {
    report(codeOf(error));
    throw error;
  }
}

/** Handlers that support everything: for tests. */
export const allCapableHandlers: RuntimeHandlers = {
  defaultName: 'crun',
  checkUserNamespace: () => Promise.resolve(),
};

/** A pod without containers: for tests and for read-only tools. */
export const noContainers: ContainersOfPod = {
  stopAll: () => Promise.resolve(),
  removeAll: () => Promise.resolve(),
  labels: () => [],
};

/** A pod as plugins (NRI) see it: a snapshot of committed state. */
export interface PluginPod {
  readonly id: SandboxId;
  readonly metadata: SandboxMetadata;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
  readonly overhead: LinuxResources;
  /** Of all its containers. */
  readonly resources: LinuxResources;
  /** As the kubelet gave it. */
  readonly cgroupParent: string;
  /** Of the pod, below the cgroup root. */
  readonly cgroupsPath: string;
  /** By OCI type; those of the node are absent, and all once a stop has taken them away. */
  readonly namespaces: readonly { readonly type: string; readonly path: string }[];
  /** Of the pause process; 0: it has ended. */
  readonly pid: number;
  readonly ips: readonly string[];
}

/**
 * The plugins that follow pods (NRI). What returns nothing never waits and never throws: those events are sent in the
 * background, in their order for each pod.
 */
export interface PodPlugins {
  /** The pod is about to be ready. Throws where a plugin refuses it: the pod is undone. */
  run(pod: PluginPod, op: Operation): Promise<void>;
  /** Before UpdatePodSandboxResources is in force. Throws where a plugin refuses. */
  update(
    pod: PluginPod,
    wanted: { readonly overhead: LinuxResources; readonly resources: LinuxResources },
    op: Operation,
  ): Promise<void>;
  updated(pod: PluginPod): void;
  stopped(pod: PluginPod): void;
  removed(pod: PluginPod): void;
  /** Whether a plugin wants to know of any pod: else none of the above need be called. From memory. */
  readonly listening: boolean;
}

/** No plugins: for tests, and where NRI is off. */
export const noPodPlugins: PodPlugins = {
  listening: false,
  run: () => Promise.resolve(),
  update: () => Promise.resolve(),
  updated() {},
  stopped() {},
  removed() {},
};
