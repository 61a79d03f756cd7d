/** Sandboxes as plugins (NRI) see them. Pure. */
import { noResources } from '#core/model/resources.ts';
import { effectiveLinux } from './lifecycle/update.ts';
import type { PluginPod } from './ports.ts';
import type { SandboxRecord } from './sandbox.ts';

/** The types of the OCI runtime specification that differ from the kernel's names. */
const TYPES: Readonly<Record<string, string>> = { net: 'network', mnt: 'mount' };

/** `pid`: of the pause process; 0 where it has ended. */
export function pluginPod(record: SandboxRecord, pid: number): PluginPod {
  const { config, pins, cgroup, attachments, intents } = record;
  const isPinned = intents.some(({ kind }) => kind === 'pins');
  const { overhead, resources } = effectiveLinux(record);
  return {
    id: record.id,
    metadata: config.metadata,
    labels: config.labels,
    annotations: config.annotations,
    runtimeHandler: record.runtimeHandler,
    overhead: overhead ?? noResources,
    resources: resources ?? noResources,
    cgroupParent: config.linux.cgroupParent,
    cgroupsPath: cgroup.parent,
    namespaces: isPinned
      ? Object.entries(pins).map(([kind, path]) => ({ type: TYPES[kind] ?? kind, path }))
      : [],
    pid,
    ips: attachments[0]?.ips ?? [],
  };
}
