import { type cri, toBigInt } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';

const MAX_SECONDS = 2_000_000n;

/** StopContainer: an unknown id counts as stopped. A negative timeout means 0. */
export const stopContainer =
  ({ containers }: CriServices) =>
  async (
    { containerId, timeout }: cri.StopContainerRequest,
    op: Operation,
  ): Promise<cri.StopContainerResponseInit> => {
    const record = containers.find(containerId);
    const seconds = toBigInt(timeout);
    const bounded = seconds < 0n ? 0n : seconds > MAX_SECONDS ? MAX_SECONDS : seconds;
    if (record) await containers.stop(record.id, Number(bounded) * 1000, op);
    return {};
  };
