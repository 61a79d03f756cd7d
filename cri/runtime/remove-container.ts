import type { cri } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';

/** RemoveContainer: an unknown id counts as removed; a running one is killed. */
export const removeContainer =
  ({ containers }: CriServices) =>
  async (
    { containerId }: cri.RemoveContainerRequest,
    op: Operation,
  ): Promise<cri.RemoveContainerResponseInit> => {
    const record = containers.find(containerId);
    if (record) await containers.remove(record.id, op);
    return {};
  };
