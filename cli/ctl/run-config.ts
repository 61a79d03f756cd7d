/** The pod and the container that `crisp ctl run IMAGE` creates from its flags. */
import { resolve } from 'node:path';
import { cri } from '#api/cri/v1/index.ts';
import { type Flag, type Parsed, UsageError } from '../command.ts';

const LOG_ROOT = '/var/log/pods';

export const runFlags: Record<string, Flag> = {
  name: { type: 'string', value: 'NAME', doc: 'Name of the pod and the container' },
  env: { type: 'string', short: 'e', multiple: true, value: 'KEY=VALUE', doc: 'Environment variable' },
  volume: {
    type: 'string',
    short: 'v',
    multiple: true,
    value: 'HOST:CONTAINER[:ro]',
    doc: 'Mount a path of the host',
  },
  publish: {
    type: 'string',
    short: 'p',
    multiple: true,
    value: 'HOST:CONTAINER[/udp]',
    doc: 'Map a port of the host',
  },
  workdir: { type: 'string', short: 'w', value: 'PATH', doc: 'Working directory' },
  user: { type: 'string', short: 'u', value: 'UID|NAME', doc: 'User of the process' },
  memory: { type: 'string', short: 'm', value: 'BYTES', doc: 'Memory limit, such as 64MiB' },
  'host-network': { type: 'boolean', doc: "Use the host's network" },
  privileged: { type: 'boolean', doc: 'All capabilities and devices' },
  'log-dir': { type: 'string', value: 'DIRECTORY', doc: `Directory of the log; default ${LOG_ROOT}` },
};

export interface RunPlan {
  readonly pod: cri.PodSandboxConfig;
  readonly container: cri.ContainerConfig;
  /** Directory of the log; removed with the pod. */
  readonly logDirectory: string;
}

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

function envOf(text: string): object {
  const at = text.indexOf('=');
  if (at < 1) throw new UsageError(`--env must be KEY=VALUE, not '${text}'`);
  return { key: text.slice(0, at), value: Buffer.from(text.slice(at + 1)) };
}

function mountOf(text: string): object {
  const [hostPath = '', containerPath = '', mode = 'rw', ...more] = text.split(':');
  const isValid =
    hostPath.startsWith('/') &&
    containerPath.startsWith('/') &&
    (mode === 'ro' || mode === 'rw') &&
    more.length === 0;
  if (!isValid)
    throw new UsageError(`--volume must be /HOST:/CONTAINER or /HOST:/CONTAINER:ro, not '${text}'`);
  return { hostPath, containerPath, readonly: mode === 'ro' };
}

function portOf(text: string): object {
  const match = /^(\d{1,5}):(\d{1,5})(?:\/(tcp|udp|sctp))?$/i.exec(text);
  const [hostPort, containerPort] = [Number(match?.[1]), Number(match?.[2])];
  if (!match || !(hostPort > 0 && hostPort < 65536 && containerPort > 0 && containerPort < 65536)) {
    throw new UsageError(`--publish must be HOST:CONTAINER with ports from 1 to 65535, not '${text}'`);
  }
  return { hostPort, containerPort, protocol: (match[3] ?? 'tcp').toUpperCase() };
}

function userOf(text: string | undefined): object {
  if (text === undefined) return {};
  return /^\d+$/.test(text) ? { runAsUser: { value: text } } : { runAsUsername: text };
}

/** Names are valid host names, since the pod's name becomes its host name. Throws UsageError. */
export function planRun(
  parsed: Parsed,
  identity: { name: string; uid: string },
  memoryBytes: number | undefined,
): RunPlan {
  const name = parsed.text('name') ?? identity.name;
  if (!NAME.test(name))
    throw new UsageError(`--name must be lower case letters, digits and '-', 63 at most, not '${name}'`);
  const network = parsed.has('host-network') ? 'NODE' : 'POD';
  const privileged = parsed.has('privileged');
  const namespaceOptions = { network, pid: 'CONTAINER' };
  const logDirectory = `${resolve(parsed.text('log-dir') ?? LOG_ROOT)}/crisp_${name}_${identity.uid}`;
  const [image, ...args] = parsed.args;
  const labels = {
    'io.kubernetes.pod.name': name,
    'io.kubernetes.pod.namespace': 'crisp',
    'io.kubernetes.pod.uid': identity.uid,
  };
  const pod = cri.PodSandboxConfig.fromObject({
    metadata: { name, uid: identity.uid, namespace: 'crisp', attempt: 0 },
    hostname: network === 'NODE' ? '' : name,
    logDirectory,
    portMappings: parsed.all('publish').map(portOf),
    labels,
    linux: { securityContext: { namespaceOptions, privileged } },
  });
  const container = cri.ContainerConfig.fromObject({
    metadata: { name, attempt: 0 },
    image: { image },
    args,
    workingDir: parsed.text('workdir') ?? '',
    envs: parsed.all('env').map(envOf),
    mounts: parsed.all('volume').map(mountOf),
    labels: { ...labels, 'io.kubernetes.container.name': name },
    logPath: `${name}/0.log`,
    linux: {
      securityContext: { namespaceOptions, privileged, seccomp: {}, ...userOf(parsed.text('user')) },
      ...(memoryBytes === undefined ? {} : { resources: { memoryLimitInBytes: String(memoryBytes) } }),
    },
  });
  return { pod, container, logDirectory };
}
