import { type cri, toBigInt } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';

const MAX_SECONDS = 2_000_000n;

/** ExecSync: any exit code is a result; the timeout is DEADLINE_EXCEEDED and leaves no process. */
export const execSync =
  ({ containers }: CriServices) =>
  async (
    { containerId, cmd, timeout }: cri.ExecSyncRequest,
    op: Operation,
  ): Promise<cri.ExecSyncResponseInit> => {
    const seconds = toBigInt(timeout);
    if (seconds < 0n) {
      throw new CrispError('InvalidArgument', `ExecSync: timeout ${seconds} is negative`, {
        hint: 'use 0 for no timeout',
      });
    }
    const { id } = containers.resolve(containerId);
    const limit = Number(seconds > MAX_SECONDS ? MAX_SECONDS : seconds) * 1000;
    return containers.exec(id, cmd, limit, op);
  };
