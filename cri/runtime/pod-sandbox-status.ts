import type { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { NetworkCheck, Sandbox } from '#pod-sandbox/index.ts';
import type { CriServices } from '../services.ts';
import type { Traces } from '../traces.ts';
import { knownSandbox } from './wire/ids.ts';
import { containersStatuses, now } from './wire/pod-status.ts';
import { wireSandboxStatus } from './wire/sandbox.ts';

/** PodSandboxStatus: also of a stopped pod; with all its containers, as evented PLEG requires. */
export const podSandboxStatus =
  (services: CriServices, traces: Traces) =>
  async ({
    podSandboxId,
    verbose,
  }: cri.PodSandboxStatusRequest): Promise<cri.PodSandboxStatusResponseInit> => {
    const id = knownSandbox(services, podSandboxId);
    const sandbox = services.pods.get(id);
    if (!sandbox) throw new CrispError('NotFound', `pod sandbox ${id}: no such sandbox`);
    return {
      status: wireSandboxStatus(sandbox),
      info: verbose
        ? { info: verboseInfo(sandbox, services.pods.networkCheck(id)), trace: JSON.stringify(traces.of(id)) }
        : {},
      containersStatuses: containersStatuses(services, id),
      timestamp: now(),
    };
  };

const verboseInfo = (sandbox: Sandbox, check: NetworkCheck | undefined): string =>
  JSON.stringify({
    pid: sandbox.process?.pid,
    reason: sandbox.reason,
    detail: sandbox.detail,
    cgroup: sandbox.cgroup,
    networkNamespace: sandbox.network.namespace,
    runtimeHandler: sandbox.runtimeHandler,
    cniResult: sandbox.network.result,
    ...(sandbox.selinux ? { processLabel: sandbox.selinux.process, mountLabel: sandbox.selinux.files } : {}),
    ...(sandbox.network.attachments.length > 1 ? { networks: sandbox.network.attachments } : {}),
    ...(check
      ? { cniCheck: { at: new Date(Number(check.at / 1_000_000n)).toISOString(), error: check.error } }
      : {}),
    ...readable(sandbox.limits),
  });

/** JSON has no bigint; limits are far below 2^53, except the largest memory limits. */
const readable = (limits: Sandbox['limits']): object =>
  JSON.parse(
    JSON.stringify(limits, (_key, item: unknown) => (typeof item === 'bigint' ? Number(item) : item)),
  );
