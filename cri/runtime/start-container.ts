import type { cri } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';

/** StartContainer: returns after the exec of the user's program. */
export const startContainer =
  ({ containers }: CriServices) =>
  async (
    { containerId }: cri.StartContainerRequest,
    op: Operation,
  ): Promise<cri.StartContainerResponseInit> => {
    await containers.start(containers.resolve(containerId).id, op);
    return {};
  };
