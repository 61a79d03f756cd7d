import type { cri } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';

/** UpdateRuntimeConfig: the node's range of pod addresses, again at each of the kubelet's status reports. */
export const updateRuntimeConfig =
  ({ pods }: CriServices) =>
  async (
    { runtimeConfig }: cri.UpdateRuntimeConfigRequest,
    op: Operation,
  ): Promise<cri.UpdateRuntimeConfigResponseInit> => {
    await pods.setPodRanges(runtimeConfig?.networkConfig?.podCidr ?? '', op);
    return {};
  };
