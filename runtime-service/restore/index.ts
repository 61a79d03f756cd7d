/**
 * Restoring: a container whose image is named by the absolute path of a checkpoint's archive gets the image that it
 * was made from, its writable layer, and at its start the processes that CRIU has dumped. All else (mounts, limits, labels,
 * security) is the request's, as with any container.
 */

import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { ImageForContainer } from '#core/model/image.ts';
import type { PodView } from '#core/model/pod.ts';
import type { Operation } from '#core/operation.ts';
import { pathInRoot } from '#linux/fs/in-root.ts';
import type { ProcessRef } from '#linux/ports/kernel.ts';
import { needCriu } from '../checkpoint/criu.ts';
import type { ContainerConfig } from '../config.ts';
import type { ContainerRecord } from '../container.ts';
import { type ContainerPaths, type Context, pathsOf } from '../context.ts';
import type { OciSpec } from '../spec/oci.ts';
import { type CheckpointArchive, extractArchive, inspectArchive } from './archive.ts';
import { type Dump, deletedFiles, parseDump } from './dump.ts';

/** To read, or to restore from, an archive as large as the memory of its processes. */
export const RESTORE_MS = 10 * 60_000;

export interface Checkpoint {
  readonly archive: CheckpointArchive;
  readonly dump: Dump;
  /** Paths in the root that the container had deleted, as CRI-O and podman record them. */
  readonly deleted: readonly string[];
  readonly image: ImageForContainer;
}

/** Whether a request names an archive on the node: no reference of an image begins with a slash. */
export const isArchive = ({ image }: Pick<ContainerConfig, 'image'>): boolean => image.startsWith('/');

/** Where the parts of the checkpoint are from the container's creation until it runs; undefined for any other one. */
export const restoreDirectory = ({ intents }: ContainerRecord): string | undefined =>
  intents.find((intent) => intent.kind === 'restore')?.path;

/**
 * Checks the whole archive before anything is made. Throws Unimplemented on cgroup v2, what `needCriu` and `inspectArchive`
 * throw, and NotFound where the container's image is not in the store.
 */
export async function openCheckpoint(
  context: Context,
  pod: PodView,
  path: string,
  op: Operation,
): Promise<Checkpoint> {
  needVersion1(context);
  await needCriu(context.handlers.get(pod.runtimeHandler), 'restore');
  const archive = await op.deadline('read checkpoint', RESTORE_MS, (signal) => inspectArchive(path, signal));
  const text = (name: 'config.dump' | 'spec.dump') => archive.texts.get(name) ?? '';
  const dump = parseDump(text('config.dump'), text('spec.dump'));
  const deleted = deletedFiles(archive.texts.get('deleted.files'));
  for (const name of dump.images) {
    const image = context.images.find(name);
    if (image) return { archive, dump, deleted, image };
  }
  const names = dump.images.map((name) => JSON.stringify(name)).join(' or ');
  throw new CrispError(
    'NotFound',
    `checkpoint ${path}: its image ${names || '(unnamed)'} is not in the store`,
    {
      hint: 'pull it first',
    },
  );
}

/** Seen under systemd with runc 1.1.5: the processes came back outside of the new container's scope, without limits. */
function needVersion1({ kernel }: Context): void {
  if (kernel.cgroups.version === 1) return;
  throw new CrispError('Unimplemented', 'restoring containers on a node with cgroup v2 is not implemented', {
    hint: 'create a new container from its image',
  });
}

/** The parts as files, and the writable layer where the mount of the root file system will find it. */
export async function unpackCheckpoint(
  context: Context,
  { archive, image }: Checkpoint,
  record: ContainerRecord,
  op: Operation,
): Promise<void> {
  const directory = restoreDirectory(record) ?? '';
  await mkdir(join(directory, 'checkpoint'), { recursive: true, mode: 0o700 });
  const layer = await op.deadline('unpack checkpoint', RESTORE_MS, (signal) =>
    extractArchive(archive, directory, signal),
  );
  if (layer === undefined) return;
  const container = context.containers.directory(record.id);
  await context.rootfs.restoreLayer({ image: image.id, directory: container, archive: layer }, op);
  await rm(layer, { force: true });
}

/** Deletes in the mounted root what was deleted before: archives of others name it apart from the layer. */
export async function deleteInRoot(context: Context, { deleted }: Checkpoint, record: ContainerRecord) {
  const { rootfs } = pathsOf(context.options, record.id);
  for (const path of deleted) {
    // The parent is looked up inside the root; the name itself is not followed.
    const parent = pathInRoot(rootfs, dirname(path));
    if (parent !== undefined) await rm(join(parent, path.slice(path.lastIndexOf('/') + 1)), REMOVE);
  }
}

/**
 * CRIU would put the processes back into the cgroups that they had, and on version 2 the OCI runtime passes it no
 * others: another pod's, or none that exists. Unchanged they stay in the new container's, where CRIU itself runs.
 */
export async function keepCgroups(spec: OciSpec, { bundle }: ContainerPaths): Promise<void> {
  const file = join(bundle, 'criu.conf');
  await writeFile(file, 'manage-cgroups=ignore\n', { mode: 0o600 });
  // Both runc and crun pass this file to CRIU.
  spec.annotations['org.criu.config'] = file;
}

/** Throws RuntimeFailed where the process is not in the container's own cgroup, and kills it: no limit would apply to it. */
export function requireOwnCgroup(
  { kernel }: Context,
  { cgroup }: ContainerRecord,
  process: ProcessRef,
): void {
  if (kernel.cgroups.processes(cgroup.path).includes(process.pid)) return;
  kernel.processes.signal(process, SIGKILL);
  throw new CrispError(
    'RuntimeFailed',
    `OCI restore: process ${process.pid} is not in the cgroup ${cgroup.path}`,
    {
      hint: 'use a newer CRIU, which takes manage-cgroups=ignore from its configuration file',
    },
  );
}

const SIGKILL = 9;
const REMOVE = { recursive: true, force: true };
