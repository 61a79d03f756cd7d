/** The first record of a sandbox: every path, every intent and the network's configuration, before any effect. */
import { wallClock } from '#core/created-at.ts';
import type { SandboxId } from '#core/ids.ts';
import type { SelinuxLabels } from '#core/model/selinux.ts';
import type { Context } from '../context.ts';
import type { NetworkConfig } from '../network/cni/conflist.ts';
import { planAttachment } from '../network/request.ts';
import { RECORD_VERSION, type SandboxIntent, type SandboxRecord } from '../sandbox.ts';
import type { RunRequest } from '../sandbox-view.ts';
import { effectiveHostname, type SandboxPaths, sandboxPaths } from './files.ts';

export interface Plan {
  readonly record: SandboxRecord;
  readonly paths: SandboxPaths;
  /** Bytes of its /dev/shm; undefined: those of the context. */
  readonly shmBytes?: number | undefined;
}

export interface PlanParts {
  /** None for a pod on the node's network. */
  readonly networks: readonly NetworkConfig[];
  readonly createdAt?: bigint;
  /** Whether its host ports are its networks' work; absent: as configured now. */
  readonly hostPorts?: boolean;
  /** Capabilities of CNI that the pod has requested for its first network. */
  readonly requested?: Readonly<Record<string, unknown>>;
  readonly selinux?: SelinuxLabels | undefined;
}

export function plan(
  context: Pick<Context, 'state' | 'cgroups' | 'kernel'> & Partial<Pick<Context, 'cniMode' | 'hostPorts'>>,
  id: SandboxId,
  request: RunRequest,
  {
    networks,
    hostPorts = context.hostPorts ?? true,
    createdAt = wallClock(),
    requested = {},
    selinux,
  }: PlanParts,
): Plan {
  const { config, runtimeHandler } = request;
  const paths = sandboxPaths(context.state, id, config);
  const cgroup = context.cgroups.place(id, config.linux.cgroupParent);
  const ownIpc = config.linux.security.namespaces.ipc !== 'node';
  const intents: SandboxIntent[] = [
    { kind: 'directory', path: paths.directory },
    ...(ownIpc ? [{ kind: 'shm', path: paths.files.shm } as const] : []),
    { kind: 'pins', path: paths.pins },
    { kind: 'cgroup', cgroup },
    ...(networks.length > 0 ? [{ kind: 'network' } as const] : []),
  ];
  const record: SandboxRecord = {
    version: RECORD_VERSION,
    id,
    config,
    runtimeHandler,
    createdAt,
    bootId: context.kernel.processes.bootId,
    hostname: effectiveHostname(config, id),
    state: { name: 'creating' },
    process: undefined,
    pins: {},
    files: paths.files,
    cgroup,
    attachments: networks.map((network, index) =>
      planAttachment(network, { id, config, cgroup: cgroup.parent }, context.cniMode, {
        interfaceName: `eth${index}`,
        hostPorts,
        requested: index === 0 ? requested : {},
      }),
    ),
    intents,
    ...(selinux ? { selinux } : {}),
  };
  return { record, paths };
}
