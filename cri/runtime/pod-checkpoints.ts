import type { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';

const refuse = (rpc: string, why: string, hint: string): never => {
  throw new CrispError('Unimplemented', `${rpc} is not implemented: ${why}`, { hint });
};

/**
 * CheckpointPod (KEP-5823, alpha in Kubernetes 1.37): refused. All containers would have to be paused until each of them has
 * been dumped, and to run on whatever happens meanwhile, the end of the daemon included.
 */
export const checkpointPod = () => async (_: cri.CheckpointPodRequest) =>
  refuse(
    'CheckpointPod',
    'the containers of a pod are not checkpointed at one instant',
    'checkpoint its containers one by one, with CheckpointContainer',
  );

/** RestorePod: refused, since there is no checkpoint of a pod that it could be given. */
export const restorePod = () => async (_: cri.RestorePodRequest) =>
  refuse(
    'RestorePod',
    'there are no checkpoints of whole pods',
    'create containers from the archives of CheckpointContainer, in a new pod sandbox',
  );
