/** A small valid request, its pod and its image, for tests. */

import type { ImageId } from '#core/ids.ts';
import { newSandboxId } from '#core/ids.ts';
import type { ContainerConfig, LinuxResources, MountRequest, SecurityContext } from './config.ts';
import type { ImageForContainer, PodOfContainer } from './ports.ts';

export const securityOf = (changes: Partial<SecurityContext> = {}): SecurityContext => ({
  privileged: false,
  addCapabilities: [],
  dropCapabilities: [],
  pid: 'pod',
  targetId: '',
  runAsUser: undefined,
  runAsGroup: undefined,
  runAsUsername: '',
  readonlyRootfs: false,
  supplementalGroups: [],
  supplementalGroupsPolicy: 'Merge',
  noNewPrivs: false,
  maskedPaths: [],
  readonlyPaths: [],
  seccomp: undefined,
  apparmor: undefined,
  selinux: undefined,
  ...changes,
});

export const resourcesOf = (changes: Partial<LinuxResources> = {}): LinuxResources => ({
  cpuPeriod: 0n,
  cpuQuota: 0n,
  cpuShares: 0n,
  memoryLimitBytes: 0n,
  oomScoreAdj: 0n,
  cpusetCpus: '',
  cpusetMems: '',
  hugepageLimits: [],
  unified: {},
  memorySwapLimitBytes: 0n,
  ...changes,
});

export const mountOf = (changes: Partial<MountRequest> = {}): MountRequest => ({
  containerPath: '/data',
  hostPath: '/srv/data',
  readonly: false,
  selinuxRelabel: false,
  propagation: 'private',
  recursiveReadOnly: false,
  uidMappings: [],
  gidMappings: [],
  image: '',
  imageSubPath: '',
  ...changes,
});

export const configOf = (changes: Partial<ContainerConfig> = {}): ContainerConfig => ({
  metadata: { name: 'web', attempt: 0 },
  image: 'registry.example/web:1',
  userSpecifiedImage: '',
  command: [],
  args: [],
  workingDir: '',
  envs: [],
  mounts: [],
  devices: [],
  cdiDevices: [],
  labels: {},
  annotations: {},
  logPath: 'web/0.log',
  stdin: false,
  stdinOnce: false,
  tty: false,
  resources: resourcesOf(),
  security: securityOf(),
  stopSignal: '',
  ...changes,
});

export const imageWith = (changes: Partial<ImageForContainer['config']> = {}): ImageForContainer => ({
  id: `sha256:${'ab'.repeat(32)}` as ImageId,
  name: 'registry.example/web:1',
  reference: `registry.example/web@sha256:${'cd'.repeat(32)}`,
  config: {
    env: [],
    entrypoint: ['/entry'],
    cmd: ['serve'],
    workingDir: '',
    user: '',
    stopSignal: undefined,
    volumes: [],
    ...changes,
  },
});

export const podOf = (changes: Partial<PodOfContainer> = {}): PodOfContainer => ({
  id: newSandboxId(),
  ready: true,
  metadata: { name: 'web-0', uid: 'b3b1f0de', namespace: 'default', attempt: 0 },
  annotations: {},
  runtimeHandler: '',
  logDirectory: '/var/log/pods/default_web-0_b3b1f0de',
  privileged: false,
  hostname: 'web-0',
  network: 'pod',
  ipc: 'pod',
  pid: 'container',
  userNamespace: undefined,
  pins: { net: '/pins/net', ipc: '/pins/ipc', uts: '/pins/uts' },
  files: { hostname: '/files/hostname', resolvConf: '/files/resolv.conf', shm: '/files/shm' },
  monitorCgroup: '/pod/monitors',
  ...changes,
});
