import type { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';
import { linuxResources } from './wire/resources.ts';

/** UpdateContainerResources: all of it or nothing; ContainerStatus then reports the effective values. */
export const updateContainerResources =
  ({ containers }: CriServices) =>
  async (
    { containerId, linux }: cri.UpdateContainerResourcesRequest,
    op: Operation,
  ): Promise<cri.UpdateContainerResourcesResponseInit> => {
    const { id } = containers.resolve(containerId);
    if (!linux) {
      throw new CrispError('InvalidArgument', 'UpdateContainerResources: linux is missing', {
        hint: 'set the limits in linux',
      });
    }
    await containers.updateResources(id, linuxResources(linux), op);
    return {};
  };
