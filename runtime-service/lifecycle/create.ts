import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { createdAfter } from '#core/created-at.ts';
import { CrispError } from '#core/errors.ts';
import { type ContainerId, newContainerId, type SandboxId } from '#core/ids.ts';
import { encode } from '#core/json-record.ts';
import type { ImageForContainer } from '#core/model/image.ts';
import type { PodView } from '#core/model/pod.ts';
import type { SelinuxLabels } from '#core/model/selinux.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerConfig } from '../config.ts';
import { type ContainerIntent, type ContainerRecord, containerKey } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';
import { type Checkpoint, isArchive, openCheckpoint } from '../restore/index.ts';
import { containerLabels } from '../spec/selinux.ts';
import { makeBundle } from './bundle.ts';
import { type ImageVolume, imageVolumes } from './image-volumes.ts';
import { pidTarget } from './pid-target.ts';
import { cleanUpRemoved } from './removed-container.ts';

export interface CreateRequest {
  readonly sandbox: SandboxId;
  readonly config: ContainerConfig;
  /** See `configHash`. */
  readonly hash: string;
}

/** Two requests of one name are the same one, retried, where this is equal. */
export const configHash = (config: ContainerConfig): string =>
  createHash('sha256').update(encode(config)).digest('hex');

/**
 * CreateContainer: root file system, files, spec and record; no process. A retry of one that is created gets its id.
 * Throws AlreadyExists where the name is held by another.
 */
export async function createContainer(
  context: Context,
  { sandbox, config, hash }: CreateRequest,
  op: Operation,
): Promise<ContainerId> {
  const existing = context.containers.byKey(containerKey(sandbox, config.metadata));
  if (existing) return sameOrRefuse(existing, hash);
  const pod = readyPod(context, sandbox);
  // Reads return the cached features of the program: here an update of it is noticed, without a wait.
  void context.handlers
    .get(pod.runtimeHandler)
    .features()
    .catch(() => {});
  const checkpoint = isArchive(config) ? await openCheckpoint(context, pod, config.image, op) : undefined;
  const image = checkpoint?.image ?? requestedImage(context, config.image);
  const id = newContainerId();
  const volumes = imageVolumes(context, id, config.mounts);
  const selinux = containerLabels(config.security, pod, context.options.selinux, context.kernel.selinux);
  const record = newRecord(context, { id, hash, pod, config, image, volumes, checkpoint, selinux });
  await op.stage('record', () => context.containers.create(record));
  try {
    const made = await makeBundle(context, { record, config, pod, image, volumes, checkpoint }, op);
    op.checkpoint();
    // The mount of its root has made its directory anew, if that was removed before.
    if (!context.containers.get(record.id)) throw removedMeanwhile(record.id);
    readyPod(context, sandbox);
    await op.stage('record', () => context.containers.commit(made));
    return record.id;
  } catch (error) {
    await context.containers.markRemoved(record);
    await cleanUpRemoved(context, record, op.detached('rollback'));
    throw error;
  }
}

export const removedMeanwhile = (id: ContainerId): CrispError =>
  new CrispError('Aborted', `container ${id} was removed while it was being made`, {
    hint: 'create it in another pod sandbox: its own is being removed',
  });

function sameOrRefuse(existing: ContainerRecord, hash: string): ContainerId {
  if (existing.state === 'created' && existing.configHash === hash) return existing.id;
  const { name, attempt } = existing.metadata;
  throw new CrispError(
    'AlreadyExists',
    `container ${name} attempt ${attempt} of this pod exists: ${existing.id}, ${existing.state}`,
    { hint: 'remove it, or create the next attempt' },
  );
}

function readyPod(context: Context, sandbox: SandboxId): PodView {
  const pod = context.pods.get(sandbox);
  if (!pod) throw new CrispError('NotFound', `pod sandbox ${sandbox}: no such sandbox`);
  if (pod.ready) return pod;
  throw new CrispError('FailedPrecondition', `pod sandbox ${sandbox} is not ready`, {
    hint: 'run a new pod sandbox: a stopped one takes no more containers',
  });
}

function requestedImage(context: Context, reference: string): ImageForContainer {
  const image = context.images.find(reference);
  if (image?.artifactType !== undefined) {
    const why = `is an artifact of type ${JSON.stringify(image.artifactType)}, not an image`;
    throw new CrispError('FailedPrecondition', `image ${JSON.stringify(reference)} ${why}`, {
      hint: 'name a container image; mount an artifact as an image volume',
    });
  }
  if (image) return image;
  throw new CrispError('NotFound', `image ${JSON.stringify(reference)} is not in the store`, {
    hint: 'pull it first, or check its name',
  });
}

interface NewContainer {
  readonly id: ContainerId;
  readonly hash: string;
  readonly pod: PodView;
  readonly config: ContainerConfig;
  readonly image: ImageForContainer;
  readonly volumes: readonly ImageVolume[];
  readonly checkpoint: Checkpoint | undefined;
  readonly selinux: SelinuxLabels | undefined;
}

function newRecord(
  context: Context,
  { id, hash, pod, config, image, volumes, checkpoint, selinux }: NewContainer,
): ContainerRecord {
  const paths = pathsOf(context.options, id);
  const target = pidTarget(context, pod.id, config);
  const intents: ContainerIntent[] = [
    { kind: 'bundle', path: paths.bundle },
    { kind: 'rootfs', target: paths.rootfs },
    ...volumes.map(({ target }) => ({ kind: 'image-volume', target }) as const),
  ];
  if (checkpoint) intents.push({ kind: 'restore', path: join(context.containers.directory(id), 'restore') });
  return {
    version: 1,
    id,
    sandboxId: pod.id,
    configHash: hash,
    metadata: config.metadata,
    state: 'creating',
    handler: context.handlers.get(pod.runtimeHandler).handler,
    image: {
      id: image.id,
      name: image.name,
      reference: image.reference,
      requested: config.image,
      // Of one that is restored the path of its archive names no image.
      userSpecified: checkpoint ? '' : config.userSpecifiedImage,
    },
    labels: config.labels,
    annotations: config.annotations,
    mounts: config.mounts,
    ...(volumes.length > 0 ? { volumeImages: volumeImages(volumes) } : {}),
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: config.resources,
    ...(config.security.seccomp ? { seccompProfile: config.security.seccomp } : {}),
    ...(config.cdiDevices.length > 0 ? { cdiDevices: config.cdiDevices } : {}),
    stopSignal: config.stopSignal || image.config.stopSignal || 'SIGTERM',
    logPath: logPathOf(pod, config),
    tty: config.tty,
    stdin: config.stdin,
    stdinOnce: config.stdinOnce,
    ...(target ? { pidTarget: target } : {}),
    sharedPid: false,
    cgroup: context.pods.containerCgroup(pod.id, id),
    ...(selinux ? { selinux } : {}),
    createdAt: createdAfter(earlierAttempts(context, pod, config)),
    startedAt: undefined,
    exit: undefined,
    process: undefined,
    monitor: undefined,
    intents,
  };
}

function logPathOf({ logDirectory }: PodView, { logPath }: ContainerConfig): string {
  if (logPath === '' || logDirectory === '') return '';
  const path = join(logDirectory, logPath);
  if (!path.includes(':')) return path;
  throw new CrispError('InvalidArgument', `log ${path}: conmon ends the path of a log at a colon`, {
    hint: 'give a log_directory and a log_path without colons',
  });
}

const POD_UID = 'io.kubernetes.pod.uid';

/** When the containers of this name were created, those in earlier sandboxes of the pod among them. */
function earlierAttempts(context: Context, pod: PodView, config: ContainerConfig): bigint[] {
  const uid = config.labels[POD_UID];
  return context.containers
    .list()
    .filter(({ metadata }) => metadata.name === config.metadata.name)
    .filter(({ sandboxId, labels }) => sandboxId === pod.id || (uid && labels[POD_UID] === uid))
    .map(({ createdAt }) => createdAt);
}

const volumeImages = (volumes: readonly ImageVolume[]): NonNullable<ContainerRecord['volumeImages']> =>
  volumes.map(({ containerPath, image: { id, reference } }) => ({ containerPath, id, reference }));
