import type { cri } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';
import { sandboxOf } from './wire/ids.ts';

/** RemovePodSandbox: an unknown id counts as removed. */
export const removePodSandbox =
  (services: CriServices) =>
  async (
    { podSandboxId }: cri.RemovePodSandboxRequest,
    op: Operation,
  ): Promise<cri.RemovePodSandboxResponseInit> => {
    const id = sandboxOf(services, podSandboxId);
    if (id) await services.pods.remove(id, op);
    return {};
  };
