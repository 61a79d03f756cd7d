import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, hasCode } from '#core/errors.ts';
import { type ContainerId, newContainerId, type SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { encode } from '#core/record-store.ts';
import { SingleFlight } from '#core/single-flight.ts';
import { mkdirInRoot, readInRoot } from '#linux/in-root.ts';
import { type ContainerConfig, type MountRequest, validateConfig } from './config.ts';
import { type ContainerIntent, type ContainerRecord, containerKey, nowNanoseconds } from './container.ts';
import type { ImageForContainer, PodOfContainer } from './ports.ts';
import { recoverContainer } from './recover.ts';
import { type Places, placesOf, type Runtime } from './runtime.ts';
import { makeSpec } from './spec/index.ts';
import { encodeSpec, type OciSpec } from './spec/oci.ts';
import { undoContainer } from './undo.ts';

/** From the beginning of a creation to where the runtime moves the process of a start that follows at once. */
const START_MS = 40;
const MAX_USER_FILE = 4 << 20;

/** CreateContainer: root file system, files, spec and record; no process. A retry joins, or gets the id that exists. */
export class Creation {
  readonly #flights = new SingleFlight<string, ContainerId>();
  readonly #runtime: Runtime;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  async create(sandbox: SandboxId, config: ContainerConfig, op: Operation): Promise<ContainerId> {
    validateConfig(config);
    this.#runtime.kernel.cgroups.expectMoves(START_MS); // of the start that mostly follows at once
    const key = containerKey(sandbox, config.metadata);
    const hash = createHash('sha256').update(encode(config)).digest('hex');
    const make = async (): Promise<ContainerId> => {
      await this.#takeBackHalfMade(key, op);
      const existing = this.#runtime.containers.byKey(key);
      if (existing) return sameOrRefuse(existing, hash);
      return createContainer(this.#runtime, sandbox, config, hash, op);
    };
    for (;;) {
      op.checkpoint();
      const joined = this.#flights.get(key) !== undefined;
      try {
        return await this.#flights.run(key, make);
      } catch (error) {
        // The first caller has gone, this one has not: it starts anew.
        if (!joined || !hasCode(error, 'Cancelled') || op.signal.aborted) throw error;
      }
    }
  }

  /** No other call makes this name now: one that is half made is left from a daemon that died, or a failed rollback. */
  async #takeBackHalfMade(key: string, op: Operation): Promise<void> {
    const { containers } = this.#runtime;
    const left = containers.byKey(key);
    if (left?.state !== 'creating') return;
    await op.stage('take back', () =>
      containers.exclusive(left.id, () => recoverContainer(this.#runtime, left.id, op.detached('take back'))),
    );
  }
}

function sameOrRefuse(existing: ContainerRecord, hash: string): ContainerId {
  if (existing.state === 'created' && existing.configHash === hash) return existing.id;
  const { name, attempt } = existing.metadata;
  throw new CrispError(
    'AlreadyExists',
    `container ${name} attempt ${attempt} of this pod exists: ${existing.id}, ${existing.state}`,
    { hint: 'remove it, or create the next attempt' },
  );
}

async function createContainer(
  runtime: Runtime,
  sandbox: SandboxId,
  config: ContainerConfig,
  hash: string,
  op: Operation,
): Promise<ContainerId> {
  const pod = readyPod(runtime, sandbox);
  runtime.handlers.get(pod.runtimeHandler);
  const image = wantedImage(runtime, config.image);
  refuseImageVolumes(config.mounts);
  const record = newRecord(runtime, pod, config, image, hash);
  await op.stage('record', () => runtime.containers.create(record));
  try {
    const made = await makeBundle(runtime, record, config, pod, image, op);
    op.checkpoint();
    await op.stage('record', () => runtime.containers.update(made));
    return record.id;
  } catch (error) {
    const { left } = await undoContainer(runtime, record, op.detached('rollback'));
    // What cannot be undone yet keeps its record: the next try, the pod's end or the next start take it back.
    if (left.length === 0) await runtime.containers.remove(record);
    throw error;
  }
}

function readyPod(runtime: Runtime, sandbox: SandboxId): PodOfContainer {
  const pod = runtime.pods.get(sandbox);
  if (!pod) throw new CrispError('NotFound', `pod sandbox ${sandbox}: no such sandbox`);
  if (pod.ready) return pod;
  throw new CrispError('FailedPrecondition', `pod sandbox ${sandbox} is not ready`, {
    hint: 'run a new pod sandbox: a stopped one takes no more containers',
  });
}

function wantedImage(runtime: Runtime, reference: string): ImageForContainer {
  const image = runtime.images.find(reference);
  if (image) return image;
  throw new CrispError('NotFound', `image ${JSON.stringify(reference)} is not in the store`, {
    hint: 'pull it first, or check its name',
  });
}

function refuseImageVolumes(mounts: readonly MountRequest[]): void {
  const mount = mounts.find(({ image }) => image !== '');
  if (!mount) return;
  throw new CrispError(
    'ImageVolumeMountFailed',
    `mount ${mount.containerPath} of image ${mount.image}: not built yet`,
  );
}

function newRecord(
  runtime: Runtime,
  pod: PodOfContainer,
  config: ContainerConfig,
  image: ImageForContainer,
  hash: string,
): ContainerRecord {
  const id = newContainerId();
  const places = placesOf(runtime.options, id);
  const intents: ContainerIntent[] = [
    { kind: 'bundle', path: places.bundle },
    { kind: 'rootfs', target: places.rootfs },
  ];
  const logged = config.logPath !== '' && pod.logDirectory !== '';
  return {
    version: 1,
    id,
    sandboxId: pod.id,
    configHash: hash,
    metadata: config.metadata,
    state: 'creating',
    handler: runtime.handlers.get(pod.runtimeHandler).handler,
    image: {
      id: image.id,
      name: image.name,
      reference: image.reference,
      requested: config.image,
      userSpecified: config.userSpecifiedImage,
    },
    labels: config.labels,
    annotations: config.annotations,
    mounts: config.mounts,
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: config.resources,
    stopSignal: config.stopSignal || image.config.stopSignal || 'SIGTERM',
    logPath: logged ? join(pod.logDirectory, config.logPath) : '',
    tty: config.tty,
    stdin: config.stdin,
    stdinOnce: config.stdinOnce,
    sharedPid: false,
    cgroup: runtime.pods.containerCgroup(pod.id, id),
    createdAt: nowNanoseconds(),
    startedAt: undefined,
    exit: undefined,
    process: undefined,
    monitor: undefined,
    intents,
  };
}

async function makeBundle(
  runtime: Runtime,
  record: ContainerRecord,
  config: ContainerConfig,
  pod: PodOfContainer,
  image: ImageForContainer,
  op: Operation,
): Promise<ContainerRecord> {
  const places = placesOf(runtime.options, record.id);
  const oci = runtime.handlers.get(record.handler);
  await mkdir(places.bundle, { recursive: true, mode: 0o700 });
  await op.stage('rootfs', () =>
    runtime.rootfs.mount(
      { image: image.id, directory: runtime.containers.directory(record.id), target: places.rootfs },
      op,
    ),
  );
  await op.stage('mount sources', () => makeMountSources(config.mounts));
  const { spec, user, sharedPid } = await op.stage('spec', () =>
    makeSpec(
      {
        config,
        pod,
        image,
        userFiles: readUserFiles(places),
        rootfs: places.rootfs,
        cgroup: record.cgroup.oci,
        volumes: config.security.readonlyRootfs ? writableVolumes(image, places, user0(pod)) : [],
        imageSources: new Map(),
        targetPid: targetPid(runtime, record.sandboxId, config),
        runtime: { seccompPrograms: oci.isCrun, allowedAnnotations: oci.allowedAnnotations },
      },
      runtime.host,
    ),
  );
  mkdirInRoot(places.rootfs, spec.process.cwd, { uid: user0(pod).uid, gid: user0(pod).gid });
  for (const volume of image.config.volumes) mkdirInRoot(places.rootfs, volume, user0(pod));
  await op.stage('bundle', () => writeSpec(runtime, places, spec));
  return { ...record, state: 'created', user, sharedPid };
}

/** Root of the pod as the host numbers it. */
function user0(pod: PodOfContainer): { uid: number; gid: number } {
  const hostId = (mappings: readonly { containerId: number; hostId: number }[] | undefined) =>
    mappings?.find(({ containerId }) => containerId === 0)?.hostId ?? 0;
  return { uid: hostId(pod.userNamespace?.uids), gid: hostId(pod.userNamespace?.gids) };
}

function readUserFiles(places: Places): { passwd: string; group: string } {
  const read = (path: string) => readInRoot(places.rootfs, path, MAX_USER_FILE)?.toString('utf8') ?? '';
  return { passwd: read('etc/passwd'), group: read('etc/group') };
}

/**
 * The image's VOLUMEs. With a writable root they lie in the container's own layer, which lives and ends with the
 * container as an anonymous volume does; under a read-only root the same directories are bound back writable.
 */
function writableVolumes(image: ImageForContainer, places: Places, owner: { uid: number; gid: number }) {
  return image.config.volumes.map((containerPath) => ({
    containerPath,
    source: mkdirInRoot(places.rootfs, containerPath, owner),
  }));
}

/** Both peers make a missing source as a directory; the kubelet has made its own before. */
async function makeMountSources(mounts: readonly MountRequest[]): Promise<void> {
  for (const { hostPath } of mounts) {
    try {
      await mkdir(hostPath, { recursive: true, mode: 0o755 });
    } catch (error) {
      // A file, socket or device is a good source as it is; a dangling link is not.
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') continue;
      throw new CrispError('InvalidArgument', `mount source ${hostPath} cannot be used or made`, {
        cause: error,
        hint: 'make the path on the node, or correct host_path',
      });
    }
  }
}

function targetPid(runtime: Runtime, sandbox: SandboxId, config: ContainerConfig): number | undefined {
  if (config.security.pid !== 'target') return undefined;
  const target = runtime.containers.resolve(config.security.targetId);
  if (target.sandboxId === sandbox && target.state === 'running' && target.process) return target.process.pid;
  throw new CrispError(
    'FailedPrecondition',
    `target container ${config.security.targetId} is not running in this pod`,
    {
      hint: 'name a running container of the same pod',
    },
  );
}

async function writeSpec(runtime: Runtime, places: Places, spec: OciSpec): Promise<void> {
  await runtime.kernel.files.writeAtomic(places.config, encodeSpec(spec), { mode: 0o600 });
  await rm(places.pidFile, { force: true });
}
