/** The attachment of a pod as it is recorded before ADD: interface, CNI_ARGS and capabilities (CNI specification, section 2). */
import type { SandboxId } from '#core/ids.ts';
import type { PortMapping, SandboxConfig } from '../config.ts';
import type { CniMode } from '../options.ts';
import { type Attachment, FIRST_INTERFACE } from './cni/attachment.ts';
import { bandwidthOf } from './cni/bandwidth.ts';
import type { NetworkConfig } from './cni/conflist.ts';
import { lengthInProcess } from './in-process.ts';

/** The attachment as it is recorded before ADD. `cgroup`: the pod's, below the cgroup root. */
export function planAttachment(
  config: NetworkConfig,
  sandbox: { readonly id: SandboxId; readonly config: SandboxConfig; readonly cgroup: string },
  mode: CniMode = 'exec',
  { interfaceName = FIRST_INTERFACE, hostPorts = true, requested = {} } = {},
): Attachment {
  const ports = hostPorts ? sandbox.config.portMappings : [];
  const capabilities = { ...requested, ...capabilitiesOf(sandbox.config, ports, sandbox.cgroup) };
  const plugins = lengthInProcess(mode, { config, capabilities });
  return {
    config,
    interfaceName,
    args: kubernetesArgs(sandbox.id, sandbox.config),
    capabilities,
    ...(plugins > 0 ? { way: 'native' } : {}),
    ...(plugins > 0 && plugins < config.plugins.length ? { head: { plugins, ips: [] } } : {}),
    result: undefined,
    ips: [],
  };
}

/** `validation.ts` keeps `;` and `=` out of the names, so no field can be forged. */
function kubernetesArgs(id: SandboxId, { metadata }: SandboxConfig): string {
  const fields = {
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: metadata.namespace,
    K8S_POD_NAME: metadata.name,
    K8S_POD_INFRA_CONTAINER_ID: id,
    K8S_POD_UID: metadata.uid,
  };
  return Object.entries(fields)
    .map(([name, value]) => `${name}=${value}`)
    .join(';');
}

/** All that crisp supports; each plugin gets what it declares. */
function capabilitiesOf(
  config: SandboxConfig,
  ports: readonly PortMapping[],
  cgroup: string,
): Record<string, unknown> {
  const bandwidth = bandwidthOf(config.annotations);
  const published = portMappings(ports);
  return {
    ...(published.length > 0 ? { portMappings: published } : {}),
    ...(bandwidth ? { bandwidth } : {}),
    ...(config.dns ? { dns: config.dns } : {}),
    cgroupPath: cgroup,
    'io.kubernetes.cri.pod-annotations': config.annotations,
  };
}

/** Published ports only, exact repeats once. */
function portMappings(ports: readonly PortMapping[]): object[] {
  const unique = new Map<string, object>();
  for (const { protocol, containerPort, hostPort, hostIp } of ports) {
    if (hostPort === 0) continue;
    const mapping = { hostPort, containerPort, protocol, ...(hostIp === '' ? {} : { hostIP: hostIp }) };
    unique.set(JSON.stringify(mapping), mapping);
  }
  return [...unique.values()];
}
