/** What pods need of their sibling: the containers that live in them. Connected in daemon/main.ts. */
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

/** A pod without containers: for tests and for tools that only look. */
export const noContainers: ContainersOfPod = {
  stopAll: () => Promise.resolve(),
  removeAll: () => Promise.resolve(),
};
