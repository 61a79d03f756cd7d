import type { cri } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';
import { knownSandbox } from './wire/ids.ts';
import { linuxResources } from './wire/resources.ts';

/** UpdatePodSandboxResources: an error makes the kubelet refuse the resize. */
export const updatePodSandboxResources =
  (services: CriServices) =>
  async (
    { podSandboxId, overhead, resources }: cri.UpdatePodSandboxResourcesRequest,
    op: Operation,
  ): Promise<cri.UpdatePodSandboxResourcesResponseInit> => {
    const limits = {
      overhead: overhead ? linuxResources(overhead) : undefined,
      resources: resources ? linuxResources(resources) : undefined,
    };
    await services.pods.updateResources(knownSandbox(services, podSandboxId), limits, op);
    return {};
  };
