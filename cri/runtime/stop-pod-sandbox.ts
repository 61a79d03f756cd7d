import type { cri } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';
import { sandboxOf } from './wire/ids.ts';

/** StopPodSandbox: an unknown id counts as stopped; the kubelet calls it many times. */
export const stopPodSandbox =
  (services: CriServices) =>
  async (
    { podSandboxId }: cri.StopPodSandboxRequest,
    op: Operation,
  ): Promise<cri.StopPodSandboxResponseInit> => {
    const id = sandboxOf(services, podSandboxId);
    if (id) await services.pods.stop(id, op);
    return {};
  };
