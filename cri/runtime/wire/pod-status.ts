import { type cri, fromBigInt } from '#api/cri/v1/index.ts';
import type { SandboxId } from '#core/ids.ts';
import type { CriServices } from '../../services.ts';
import { wireContainerStatus } from './container.ts';

/** The statuses of all containers of a pod, which evented PLEG requires beside the pod's own. */
export const containersStatuses = ({ containers }: CriServices, id: SandboxId): cri.ContainerStatusInit[] =>
  containers
    .list()
    .filter(({ sandboxId }) => sandboxId === id)
    .map(wireContainerStatus);

/** The current time in CRI's form: nanoseconds since the epoch. */
export const now = () => fromBigInt(BigInt(Date.now()) * 1_000_000n);
