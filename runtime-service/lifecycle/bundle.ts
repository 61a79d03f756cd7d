/** The effects of CreateContainer: root file system, volumes, OCI spec. The record's intents list them before. */

import { mkdir } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CrispError, errnoOf } from '#core/errors.ts';
import type { ImageForContainer } from '#core/model/image.ts';
import type { PodView } from '#core/model/pod.ts';
import type { Operation } from '#core/operation.ts';
import { writeNewSync } from '#core/write-text.ts';
import { mkdirInRoot } from '#linux/fs/in-root.ts';
import { type AdjustedContainer, adjustContainer } from '../adjustment/index.ts';
import { type AnnotatedContainer, type AnnotationHost, applyAnnotations } from '../annotations/index.ts';
import { applyEdits } from '../cdi/apply.ts';
import { requestedDevices } from '../cdi/devices.ts';
import { checkEdits } from '../cdi/requirements.ts';
import type { ContainerConfig } from '../config.ts';
import type { ContainerRecord } from '../container.ts';
import { type ContainerPaths, type Context, pathsOf } from '../context.ts';
import type { HookSubject } from '../hooks/oci-hooks.ts';
import { checkControlFiles } from '../limits/control-files.ts';
import type { OciRuntime } from '../oci-runtime/cli.ts';
import { checkCompatible } from '../restore/dump.ts';
import { type Checkpoint, deleteInRoot, keepCgroups, unpackCheckpoint } from '../restore/index.ts';
import { type MadeSpec, makeSpec, type SpecRequest } from '../spec/index.ts';
import { inContainer } from '../spec/mounts.ts';
import { encodeSpec, type OciSpec } from '../spec/oci.ts';
import { volumeLabel } from '../spec/selinux.ts';
import { type ImageVolume, mountImageVolumes } from './image-volumes.ts';
import { checkMountPoints, checkMounts, makeMountSources } from './mount-sources.ts';
import { askToCreate } from './plugin-events.ts';
import { addUserEntries } from './user-entries.ts';
import { readUserFiles } from './user-files.ts';

export interface BundleRequest {
  readonly record: ContainerRecord;
  readonly config: ContainerConfig;
  readonly pod: PodView;
  readonly image: ImageForContainer;
  readonly volumes: readonly ImageVolume[];
  /** What the container is to be restored from. */
  readonly checkpoint: Checkpoint | undefined;
}

/** Makes all and returns the record of the created container, which the caller commits. */
export async function makeBundle(
  context: Context,
  request: BundleRequest,
  op: Operation,
): Promise<ContainerRecord> {
  const { record, config, pod, image, volumes, checkpoint } = request;
  const paths = pathsOf(context.options, record.id);
  const oci = context.handlers.get(record.handler);
  checkControlFiles(context.kernel.cgroups, record.cgroup.path, config.resources);
  const label = record.selinux;
  const files = label?.files || undefined;
  const idMapTrees = await op.stage('mount sources', () => checkMounts(context, oci, pod, config.mounts));
  // In a user namespace the OCI runtime opens the root as the pod's root, whom 0700 denies.
  const mode = pod.userNamespace ? 0o711 : 0o700;
  await op.stage('bundle', () => mkdir(paths.bundle, { recursive: true, mode }), 'directory');
  if (checkpoint) await unpackCheckpoint(context, checkpoint, record, op);
  await op.stage('rootfs', () =>
    context.rootfs.mount(
      {
        image: image.id,
        directory: context.containers.directory(record.id),
        target: paths.rootfs,
        userNamespace: pod.pins.user,
        label: files,
      },
      op,
    ),
  );
  if (checkpoint) await op.stage('rootfs', () => deleteInRoot(context, checkpoint, record), 'deletions');
  const imageSources = await mountImageVolumes(context, volumes, { pod, label: files }, op);
  await op.stage('mount sources', () => makeMountSources(context, config.mounts));
  const ofVolumes = volumeLabel(label);
  const { timeouts, selinux } = context.options;
  if (selinux && ofVolumes !== undefined) {
    // Its type is that of no volume: the parts that pods name do not change the type of files.
    const wanted = { sandbox: pod.id, label: ofVolumes, interim: selinux.readonlyFiles };
    await context.volumeLabels.apply(config.mounts, wanted, timeouts.relabel, op);
    await op.stage('mount sources', () => labelPodFiles(context, pod, ofVolumes), 'labels');
  }
  const userFiles = await op.stage('spec', () => readUserFiles(paths), 'user files');
  const made = await op.stage('spec', () =>
    specOf(context, request, { userFiles, imageSources, idMapTrees, label }, op),
  );
  const requested = made.spec;
  if (checkpoint) {
    checkCompatible(checkpoint.dump, requested);
    await keepCgroups(requested, paths);
  }
  await op.stage('annotations', () =>
    applyAnnotations(requested, annotated(oci, request), hostOf(context, oci), op),
  );
  await op.stage('CDI devices', async () => {
    const edits = await cdiEdits(context, config);
    await checkEdits(oci, pod, edits);
    await applyEdits(requested, edits);
  });
  await op.stage('hooks', () => context.hooks.addTo(requested, hookSubject(config, pod, requested)));
  const { spec, record: adjusted } = await adjustedByPlugins(context, request, made, op);
  await op.stage('mount points', () => checkMountPoints(spec.mounts));
  await op.stage(
    'rootfs',
    () => makeDirectoriesInRoot(paths, [spec.process.cwd, ...image.config.volumes], root(pod), op),
    'directories',
  );
  // The files of one that is restored are those of its processes.
  if (context.host.defaults.passwdEntry && !checkpoint)
    await op.stage(
      'rootfs',
      () => addUserEntries(paths.rootfs, userFiles, { user: adjusted.user, env: spec.process.env, pod }),
      'passwd and group',
    );
  await op.stage('bundle', () => writeSpec(paths, spec));
  return { ...adjusted, state: 'created' };
}

/** The spec and the record with what NRI plugins want changed. */
async function adjustedByPlugins(
  context: Context,
  { record: { handler, ...rest }, pod, checkpoint }: BundleRequest,
  { spec, user, sharedPid }: MadeSpec,
  op: Operation,
): Promise<AdjustedContainer> {
  const record = { ...rest, handler, user, sharedPid };
  const verdict = await askToCreate(context, record, spec, op);
  if (!verdict) return { spec, record };
  const oci = context.handlers.get(handler);
  const adjust = () => adjustContainer(context, { oci, pod, spec, record }, verdict, op);
  const adjusted = await op.stage('NRI', adjust, 'adjustments');
  if (checkpoint) checkCompatible(checkpoint.dump, adjusted.spec);
  return adjusted;
}

const annotated = ({ options }: OciRuntime, { config, pod }: BundleRequest): AnnotatedContainer => ({
  config,
  pod,
  allowed: options.allowedAnnotations,
});

const hostOf = ({ blockio, host }: Context, runtime: OciRuntime): AnnotationHost => ({
  blockio,
  rdtClasses: host.defaults.rdtClasses,
  runtime,
  resources: host,
  clampRlimits: host.clampRlimits,
});

/** The pod's own files have its label already; the last container with another one has them, as with the peers. */
async function labelPodFiles({ kernel }: Context, { files, selinux }: PodView, label: string): Promise<void> {
  if (label === selinux?.files) return;
  for (const path of [files.hostname, files.resolvConf])
    if (path !== undefined) await kernel.selinux.setLabel(path, label);
}

const cdiEdits = ({ cdi }: Context, { cdiDevices, annotations }: ContainerConfig) =>
  cdi.edits(requestedDevices(cdiDevices, annotations));

const hookSubject = (config: ContainerConfig, pod: PodView, { process }: OciSpec): HookSubject => ({
  annotations: { ...pod.annotations, ...config.annotations },
  command: process.args[0] ?? '',
  hasBindMounts: config.mounts.some(({ hostPath }) => hostPath !== ''),
});

async function specOf(
  context: Context,
  { record, config, pod, image }: BundleRequest,
  given: Pick<SpecRequest, 'userFiles' | 'imageSources' | 'idMapTrees' | 'label'>,
  op: Operation,
): ReturnType<typeof makeSpec> {
  const paths = pathsOf(context.options, record.id);
  const oci = context.handlers.get(record.handler);
  return makeSpec(
    {
      config,
      pod,
      image,
      rootfs: paths.rootfs,
      cgroup: record.cgroup.oci,
      volumes: config.security.readonlyRootfs ? await writableVolumes(image, paths, root(pod), op) : [],
      ...given,
      targetPid: record.pidTarget?.pid,
      runtime: { ...oci.options, seccompPrograms: oci.isCrun },
    },
    context.host,
  );
}

/** Root of the pod as the host numbers it. */
function root(pod: PodView): { uid: number; gid: number } {
  const hostId = (mappings: readonly { containerId: number; hostId: number }[] | undefined) =>
    mappings?.find(({ containerId }) => containerId === 0)?.hostId ?? 0;
  return { uid: hostId(pod.userNamespace?.uids), gid: hostId(pod.userNamespace?.gids) };
}

/** Characters of paths: an image may declare a thousand of the longest, and other calls do not wait for all of them. */
const SLICE = 4096;

/** The directories on the host. */
async function makeDirectoriesInRoot(
  { rootfs }: ContainerPaths,
  paths: readonly string[],
  owner: { uid: number; gid: number },
  op: Operation,
): Promise<string[]> {
  const made: string[] = [];
  let left = SLICE;
  for (const path of paths) {
    made.push(await makeDirectoryInRoot(rootfs, path, owner));
    left -= path.length;
    if (left > 0) continue;
    left = SLICE;
    await nextTurn();
    op.checkpoint();
  }
  return made;
}

async function makeDirectoryInRoot(
  rootfs: string,
  path: string,
  owner: { uid: number; gid: number },
): Promise<string> {
  try {
    return await mkdirInRoot(rootfs, path, owner);
  } catch (error) {
    // A file of the image is in its place, or it is not a path: the request's or image's error, not the node's.
    if (!['ENOTDIR', 'ELOOP', 'ENAMETOOLONG'].includes(errnoOf(error) ?? '')) throw error;
    throw new CrispError('InvalidArgument', `${path.slice(0, 200)} cannot be a directory of this container`, {
      cause: error,
      hint: 'give another working_dir, or fix WORKDIR and VOLUME of the image',
    });
  }
}

/**
 * The image's VOLUMEs. With a writable root they are in the container's own layer, which has the lifetime of the
 * container, as an anonymous volume does; under a read-only root the same directories are bound back writable.
 */
async function writableVolumes(
  image: ImageForContainer,
  paths: ContainerPaths,
  owner: { uid: number; gid: number },
  op: Operation,
): Promise<SpecRequest['volumes']> {
  // The root itself cannot be a volume, whatever the image declares: it would hide everything.
  const volumes = image.config.volumes.map(inContainer).filter((path) => path !== '/');
  const sources = await makeDirectoriesInRoot(paths, volumes, owner, op);
  return sources.map((source, at) => ({ containerPath: volumes[at] ?? '', source }));
}

/** The bundle is this container's own, on a tmpfs, and it is not read before the record is `created`. */
const writeSpec = (paths: ContainerPaths, spec: OciSpec): void =>
  writeNewSync(paths.config, encodeSpec(spec), 0o600);
