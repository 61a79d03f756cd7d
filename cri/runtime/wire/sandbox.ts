import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { derived } from '#core/derived.ts';
import type { Sandbox } from '#pod-sandbox/index.ts';
import { namespaceNumber } from './enums.ts';

/** The state that clients see. */
export const stateNumber = (sandbox: Sandbox): number =>
  sandbox.state === 'ready' ? cri.PodSandboxState.SANDBOX_READY : cri.PodSandboxState.SANDBOX_NOTREADY;

/** A sandbox as ListPodSandbox shows it. */
export const wireSandbox = derived(
  (sandbox: Sandbox): cri.PodSandboxInit => ({
    id: sandbox.id,
    metadata: sandbox.config.metadata,
    state: stateNumber(sandbox),
    createdAt: fromBigInt(sandbox.createdAt),
    labels: sandbox.config.labels,
    annotations: sandbox.config.annotations,
    runtimeHandler: sandbox.runtimeHandler,
  }),
);

/** A sandbox as PodSandboxStatus shows it. The kubelet compares the namespace options with the pod's. */
export function wireSandboxStatus(sandbox: Sandbox): cri.PodSandboxStatusInit {
  const { network, pid, ipc, user } = sandbox.config.linux.security.namespaces;
  return {
    ...wireSandbox(sandbox),
    network: {
      ip: sandbox.network.ip,
      additionalIps: sandbox.network.additionalIps.map((ip) => ({ ip })),
    },
    linux: {
      namespaces: {
        options: {
          network: namespaceNumber(network),
          pid: namespaceNumber(pid),
          ipc: namespaceNumber(ipc),
          ...(user
            ? { usernsOptions: { mode: namespaceNumber(user.mode), uids: user.uids, gids: user.gids } }
            : {}),
        },
      },
    },
  };
}
