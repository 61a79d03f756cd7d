import { type cri, fromBigInt } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { Sandbox } from '#pod-sandbox/index.ts';
import type { CriServices } from '../services.ts';
import type { Traces } from '../traces.ts';
import { knownSandbox } from './ids.ts';
import { wireContainerStatus } from './wire-container.ts';
import { wireSandboxStatus } from './wire-sandbox.ts';

/** PodSandboxStatus: also of one that has ended; with all its containers, as evented PLEG wants it. */
export const podSandboxStatus =
  (services: CriServices, traces: Traces) =>
  async ({
    podSandboxId,
    verbose,
  }: cri.PodSandboxStatusRequest): Promise<cri.PodSandboxStatusResponseInit> => {
    const id = knownSandbox(services, podSandboxId);
    const sandbox = services.pods.get(id);
    if (!sandbox) throw new CrispError('NotFound', `pod sandbox ${id}: no such sandbox`);
    const containers = services.containers.list().filter((record) => record.sandboxId === id);
    return {
      status: wireSandboxStatus(sandbox),
      info: verbose ? { info: verboseInfo(sandbox), trace: JSON.stringify(traces.of(id)) } : {},
      containersStatuses: containers.map(wireContainerStatus),
      timestamp: fromBigInt(BigInt(Date.now()) * 1_000_000n),
    };
  };

const verboseInfo = (sandbox: Sandbox): string =>
  JSON.stringify({
    pid: sandbox.process?.pid,
    reason: sandbox.reason,
    detail: sandbox.detail,
    cgroup: sandbox.cgroup,
    networkNamespace: sandbox.network.namespace,
    runtimeHandler: sandbox.runtimeHandler,
  });
