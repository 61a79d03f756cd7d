/** A container as plugins see it: its record, and the OCI specification that it has been given. */
import { nri } from '#api/nri/index.ts';
import type { AdjustedDevice } from '#core/model/adjustment.ts';
import type { ContainerRecord, OciSpec, PluginContainer } from '#runtime-service/index.ts';
import { hooksMessage, ioPriorityMessage, schedulerMessage } from './process.ts';
import { optional, resourcesInForce } from './resources.ts';
import { seccompMessage, seccompProfile } from './seccomp.ts';

const { ContainerState } = nri;
const STATES: Readonly<Record<ContainerRecord['state'], nri.ContainerState>> = {
  creating: ContainerState.CONTAINER_UNKNOWN,
  created: ContainerState.CONTAINER_CREATED,
  starting: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_STOPPED,
};

/** Where the specification is gone, what it had alone is absent: arguments, environment, mounts, and the like. */
export function containerMessage({ record, spec }: PluginContainer): nri.ContainerInit {
  const { exit } = record;
  return {
    id: record.id,
    podSandboxId: record.sandboxId,
    name: record.metadata.name,
    state: STATES[record.state],
    labels: record.labels,
    annotations: { ...spec?.annotations, ...record.annotations },
    linux: spec
      ? linuxMessage(spec, record)
      : { resources: resourcesInForce(undefined, record), cgroupsPath: record.cgroup.oci },
    pid: record.process?.pid ?? 0,
    createdAt: record.createdAt,
    startedAt: record.startedAt ?? 0n,
    finishedAt: exit?.finishedAt ?? 0n,
    exitCode: exit?.code ?? 0,
    statusReason: exit?.reason ?? '',
    statusMessage: exit?.message ?? '',
    CDIDevices: record.cdiDevices?.map((name) => ({ name })),
    image: imageMessage(record.image),
    ...(spec ? ofSpec(spec) : { user: userOf(record) }),
  };
}

const ofSpec = ({ process, mounts, hooks }: OciSpec): nri.ContainerInit => ({
  args: process.args,
  env: process.env,
  mounts: mounts.map(({ destination, type, source, options }) => ({ destination, type, source, options })),
  hooks: hooks && hooksMessage(hooks),
  rlimits: process.rlimits?.map(({ type, hard, soft }) => ({
    type,
    hard: BigInt(hard),
    soft: BigInt(soft),
  })),
  user: {
    uid: process.user.uid,
    gid: process.user.gid,
    additionalGids: process.user.additionalGids,
  },
});

const userOf = ({ user }: ContainerRecord): nri.UserInit => ({
  uid: user.uid,
  gid: user.gid,
  additionalGids: user.supplementalGroups,
});

/** `reference` is `repo@digest`, or the id where no registry is known to have it. */
const imageMessage = ({ id, name, reference }: ContainerRecord['image']): nri.ImageInit => ({
  name,
  digest: reference.includes('@') ? reference.slice(reference.indexOf('@') + 1) : '',
  configDigest: id,
});

function linuxMessage(spec: OciSpec, record: ContainerRecord): nri.LinuxContainerInit {
  const { process, linux } = spec;
  const { intelRdt } = linux;
  return {
    namespaces: linux.namespaces,
    devices: linux.devices?.map(({ major = 0, minor = 0, ...device }) =>
      deviceMessage({ ...device, major, minor }),
    ),
    resources: resourcesInForce(linux.resources, record),
    oomScoreAdj: optional(process.oomScoreAdj === undefined ? undefined : BigInt(process.oomScoreAdj)),
    cgroupsPath: linux.cgroupsPath,
    ioPriority: process.ioPriority && ioPriorityMessage(process.ioPriority),
    seccompProfile: record.seccompProfile && seccompProfile(record.seccompProfile),
    seccompPolicy: linux.seccomp && seccompMessage(linux.seccomp),
    sysctl: linux.sysctl,
    netDevices: linux.netDevices,
    scheduler: process.scheduler && schedulerMessage(process.scheduler),
    rdt: intelRdt && {
      closId: optional(intelRdt.closID),
      schemata: optional(intelRdt.schemata),
      enableMonitoring: optional(intelRdt.enableMonitoring),
    },
  };
}

export const deviceMessage = (device: AdjustedDevice): nri.LinuxDeviceInit => ({
  path: device.path,
  type: device.type,
  major: BigInt(device.major),
  minor: BigInt(device.minor),
  fileMode: optional(device.fileMode),
  uid: optional(device.uid),
  gid: optional(device.gid),
});
