import type { cri } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';

/** ReopenContainerLog: the new file exists when it returns; an error for a container that is not running. */
export const reopenContainerLog =
  ({ containers }: CriServices) =>
  async (
    { containerId }: cri.ReopenContainerLogRequest,
    op: Operation,
  ): Promise<cri.ReopenContainerLogResponseInit> => {
    await containers.reopenLog(containers.resolve(containerId).id, op);
    return {};
  };
