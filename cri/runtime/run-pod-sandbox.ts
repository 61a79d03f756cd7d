import type { cri } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';
import { sandboxConfig } from './wire/sandbox-config.ts';

/** RunPodSandbox: READY when it returns. */
export const runPodSandbox =
  ({ pods }: CriServices) =>
  async (
    { config, runtimeHandler }: cri.RunPodSandboxRequest,
    op: Operation,
  ): Promise<cri.RunPodSandboxResponseInit> => ({
    podSandboxId: await pods.run({ config: sandboxConfig(config), runtimeHandler }, op),
  });
