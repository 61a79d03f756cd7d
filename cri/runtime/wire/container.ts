import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { derived } from '#core/derived.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { ContainerRecord, MountRequest } from '#runtime-service/index.ts';
import { propagationNumber } from './enums.ts';

/** The state that clients see: creating and starting count as CREATED. */
export function stateNumber({ state }: ContainerRecord): number {
  if (state === 'running') return cri.ContainerState.CONTAINER_RUNNING;
  if (state === 'exited') return cri.ContainerState.CONTAINER_EXITED;
  return cri.ContainerState.CONTAINER_CREATED;
}

const imageSpec = ({ image }: ContainerRecord, name: string): cri.ImageSpecInit => ({
  image: name,
  annotations: {},
  userSpecifiedImage: image.userSpecified,
});

/** A container as ListContainers shows it; `image` is the requested name, `image_id` is what the kubelet compares. */
export const wireContainer = derived(
  (record: ContainerRecord): cri.ContainerInit => ({
    id: record.id,
    podSandboxId: record.sandboxId,
    metadata: record.metadata,
    image: imageSpec(record, record.image.requested),
    imageRef: record.image.reference,
    imageId: record.image.id,
    state: stateNumber(record),
    createdAt: fromBigInt(record.createdAt),
    labels: record.labels,
    annotations: record.annotations,
  }),
);

/** A container as ContainerStatus shows it; complete also when the image was removed. */
export const wireContainerStatus = (record: ContainerRecord): cri.ContainerStatusInit => ({
  id: record.id,
  metadata: record.metadata,
  state: stateNumber(record),
  createdAt: fromBigInt(record.createdAt),
  startedAt: fromBigInt(record.startedAt ?? 0n),
  finishedAt: fromBigInt(record.exit?.finishedAt ?? 0n),
  exitCode: record.exit?.code ?? 0,
  image: imageSpec(record, record.image.name),
  imageRef: record.image.reference,
  imageId: record.image.id,
  reason: record.exit?.reason ?? '',
  message: record.exit?.message ?? '',
  labels: record.labels,
  annotations: record.annotations,
  mounts: record.mounts.map((mount) => wireMount(mount, record)),
  logPath: record.logPath,
  resources: { linux: wireResources(record.resources) },
  user: {
    linux: {
      uid: fromBigInt(BigInt(record.user.uid)),
      gid: fromBigInt(BigInt(record.user.gid)),
      supplementalGroups: record.user.supplementalGroups.map((group) => fromBigInt(BigInt(group))),
    },
  },
  stopSignal: signalOf(record.stopSignal),
});

/** `SIGRTMIN+3` is SIGNAL_SIGRTMINPLUS3 in CRI; a signal that the enum lacks is reported as the default one. */
function signalOf(name: string): number {
  const upper = name.toUpperCase();
  const word = (upper.startsWith('SIG') ? upper : `SIG${upper}`).replace('+', 'PLUS').replace('-', 'MINUS');
  const numbers: Readonly<Record<string, number | string>> = cri.Signal;
  const found = Object.hasOwn(numbers, `SIGNAL_${word}`) ? numbers[`SIGNAL_${word}`] : undefined;
  return typeof found === 'number' ? found : cri.Signal.SIGNAL_SIGTERM;
}

const wireMount = (mount: MountRequest, record: ContainerRecord): cri.MountInit => ({
  containerPath: mount.containerPath,
  hostPath: mount.hostPath,
  readonly: mount.readonly,
  selinuxRelabel: mount.selinuxRelabel,
  propagation: propagationNumber(mount.propagation),
  recursiveReadOnly: mount.recursiveReadOnly,
  uidMappings: mount.uidMappings,
  gidMappings: mount.gidMappings,
  mountOptions: [...(mount.options ?? [])],
  ...(mount.image === '' ? {} : imageOf(mount, record)),
});

/** The id, by which the kubelet sees that the image is in use, and the digest reference. */
function imageOf(mount: MountRequest, { volumeImages = [] }: ContainerRecord): cri.MountInit {
  const found = volumeImages.find(({ containerPath }) => containerPath === mount.containerPath);
  const image = { image: found?.id ?? mount.image, imageRef: found?.id ?? '' };
  return { image, imageSubPath: mount.imageSubPath };
}

const wireResources = (resources: LinuxResources): cri.LinuxContainerResourcesInit => ({
  cpuPeriod: fromBigInt(resources.cpuPeriod),
  cpuQuota: fromBigInt(resources.cpuQuota),
  cpuShares: fromBigInt(resources.cpuShares),
  memoryLimitInBytes: fromBigInt(resources.memoryLimitBytes),
  memorySwapLimitInBytes: fromBigInt(resources.memorySwapLimitBytes),
  oomScoreAdj: fromBigInt(resources.oomScoreAdj),
  cpusetCpus: resources.cpusetCpus,
  cpusetMems: resources.cpusetMems,
  hugepageLimits: resources.hugepageLimits.map(({ pageSize, limit }) => ({
    pageSize,
    limit: fromBigInt(limit),
  })),
  unified: resources.unified,
});
