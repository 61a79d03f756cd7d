/**
 * What pods need of others: the containers that live in them, the handlers that run those, and who measures. Connected in
 * daemon/services.ts.
 */
import { codeOf, type ErrorCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
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
