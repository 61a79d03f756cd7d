import { type cri, toBigInt } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';

const MAX_SECONDS = 2_000_000n;

/** CheckpointContainer: an archive of a running container, which keeps running. */
export const checkpointContainer =
  ({ containers }: CriServices) =>
  async (
    { containerId, location, timeout }: cri.CheckpointContainerRequest,
    op: Operation,
  ): Promise<cri.CheckpointContainerResponseInit> => {
    const seconds = toBigInt(timeout);
    if (seconds < 0n) {
      throw new CrispError('InvalidArgument', `CheckpointContainer: timeout ${seconds} is negative`, {
        hint: "use 0 for the runtime's own limit",
      });
    }
    const { id } = containers.resolve(containerId);
    const timeoutMs = Number(seconds > MAX_SECONDS ? MAX_SECONDS : seconds) * 1000;
    await containers.checkpoint(id, { location, timeoutMs }, op);
    return {};
  };
