/** What pods need of their sibling: the containers that live in them, and the handlers that run those. Connected in daemon/services.ts. */
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
}

export interface RuntimeHandlers {
  /**
   * Throws FailedPrecondition where the handler, or this node, does not support a user namespace for a pod. The empty
   * name is the default handler. May execute the handler's program after an update of it.
   */
  checkUserNamespace(handler: string): Promise<void>;
}

/** Handlers that support everything: for tests. */
export const allCapableHandlers: RuntimeHandlers = { checkUserNamespace: () => Promise.resolve() };

/** A pod without containers: for tests and for read-only tools. */
export const noContainers: ContainersOfPod = {
  stopAll: () => Promise.resolve(),
  removeAll: () => Promise.resolve(),
};
