import type { cri } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';

/** StartContainer: returns when the user's program has been executed. */
export const startContainer =
  ({ containers }: CriServices) =>
  async (
    { containerId }: cri.StartContainerRequest,
    op: Operation,
  ): Promise<cri.StartContainerResponseInit> => {
    await containers.start(containers.resolve(containerId).id, op);
    return {};
  };
