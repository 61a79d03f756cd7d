/** The views of a record: `Sandbox` for clients, `PodView` for containers. Pure. */
import { derived } from '#core/derived.ts';
import type { PodView } from '#core/model/pod.ts';
import { ownUserNamespace } from './config.ts';
import { effectiveLinux } from './lifecycle/update.ts';
import { namespaceKinds } from './namespaces/namespaces.ts';
import type { SandboxRecord } from './sandbox.ts';
import type { Sandbox } from './sandbox-view.ts';

export const sandboxView = derived((record: SandboxRecord): Sandbox => {
  const { state, attachments } = record;
  const [first] = attachments;
  const [ip = '', ...additionalIps] = first?.ips ?? [];
  return {
    id: record.id,
    config: record.config,
    runtimeHandler: record.runtimeHandler,
    state: state.name === 'ready' ? 'ready' : 'notReady',
    reason: state.name === 'notReady' ? state.reason : undefined,
    detail: state.name === 'notReady' ? state.detail : '',
    createdAt: record.createdAt,
    network: {
      ip,
      additionalIps,
      namespace: record.pins.net,
      result: first?.result,
      attachments: attachments.map(({ config, interfaceName, ips }) => ({
        network: config.name,
        interfaceName,
        ips,
      })),
    },
    process: record.process,
    cgroup: record.cgroup.parent,
    limits: limitsOf(record),
    selinux: record.selinux,
  };
});

function limitsOf(record: SandboxRecord): Sandbox['limits'] {
  const { overhead, resources } = effectiveLinux(record);
  return { overhead, resources };
}

export function podView(record: SandboxRecord): PodView {
  const { config, files } = record;
  const { namespaces, privileged } = config.linux.security;
  const user = ownUserNamespace(config);
  const kinds = namespaceKinds(config);
  const { net, ipc, uts, pid, user: userPin } = record.pins;
  const pins = Object.entries({ net, ipc, uts, pid, user: userPin }).filter(([, path]) => path !== undefined);
  return {
    id: record.id,
    ready: record.state.name === 'ready',
    metadata: config.metadata,
    annotations: config.annotations,
    runtimeHandler: record.runtimeHandler,
    logDirectory: config.logDirectory,
    privileged,
    hostname: record.hostname,
    network: kinds.includes('net') ? 'pod' : 'node',
    ipc: kinds.includes('ipc') ? 'pod' : 'node',
    pid: namespaces.pid === 'node' || namespaces.pid === 'pod' ? namespaces.pid : 'container',
    userNamespace: user ? { uids: user.uids, gids: user.gids } : undefined,
    pins: Object.fromEntries(pins),
    files,
    monitorCgroup: record.cgroup.monitor,
    selinux: record.selinux,
  };
}
