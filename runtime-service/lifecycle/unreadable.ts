/**
 * A container whose record cannot be read. It is unknown what it was, and it must not run on unlisted: its bundle, mounts,
 * OCI runtime state, monitor and cgroup are enough to end it. It is removed as if its removal had been interrupted; the
 * kubelet, which does not find it, creates the next attempt.
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { describeError } from '#core/errors.ts';
import { type ContainerId, type ImageId, isFullId, type SandboxId } from '#core/ids.ts';
import { noResources } from '#core/model/resources.ts';
import type { BrokenRecord } from '#core/record-store.ts';
import type { ContainerIntent, ContainerRecord } from '../container.ts';
import { holdsCgroup, nowNanoseconds } from '../container.ts';
import { type ContainerPaths, type Context, pathsOf } from '../context.ts';
import { isUnit, scopeOf } from '../spec/annotations.ts';
import { isWithin } from '../spec/mounts.ts';
import { type OciSpec, parseSpec } from '../spec/oci.ts';
import { textOf } from '../text-of.ts';
import { unknownExit } from './exits.ts';

/**
 * Marks what cannot be read as removed, and finds what exists without any record; the effects of both are to be undone.
 * `removing`: keys of interrupted removals whose record cannot be read.
 */
export async function adoptUnreadable(
  context: Context,
  broken: readonly BrokenRecord[],
  removing: readonly string[],
): Promise<ContainerRecord[]> {
  const { containers, log } = context;
  await containers.sweep(removing.filter((key) => !isFullId(key)));
  const found: ContainerRecord[] = removing
    .filter(isFullId)
    .map((key) => recordFromTraces(context, key as ContainerId));
  for (const { key, reason, isMissing, isPassing, hint } of broken) {
    if (isPassing || !isFullId(key)) {
      log.error(
        { container: key, reason, hint },
        'record cannot be read; its directory is left for inspection',
      );
      continue;
    }
    const id = key as ContainerId;
    try {
      const record = recordFromTraces(context, id);
      const kept = await containers.markUnreadableRemoved(id);
      found.push(record);
      const text =
        'the record of a container cannot be read: the container is ended by its bundle, cgroup and mounts';
      // Without a record no client got a reply: a power cut came before the first write.
      if (isMissing && !hasBundle(context, id)) log.info({ container: id, reason }, text);
      else log.error({ container: id, reason, kept }, text);
    } catch (error) {
      log.error(
        { container: id, error: describeError(error) },
        'a container without a record cannot be ended yet',
      );
    }
  }
  const known = new Set([...removing, ...broken.map(({ key }) => key)]);
  return [...found, ...withoutRecord(context, known)];
}

/** Bundles that no record names. */
function withoutRecord(context: Context, known: ReadonlySet<string>): ContainerRecord[] {
  const { containers, leaks, log, options } = context;
  return namesIn(`${options.state}/containers`).flatMap((key) => {
    const id = key as ContainerId;
    if (!isFullId(key) || known.has(key) || containers.get(id) || leaks.get(id)) return [];
    log.error({ container: id }, 'a container has no record: it is ended by its bundle, cgroup and mounts');
    return [recordFromTraces(context, id)];
  });
}

const hasBundle = ({ options }: Context, id: ContainerId): boolean => existsSync(pathsOf(options, id).bundle);

/** Of an exited container, with intents for all effects that may exist: the undo of a missing one is success. */
function recordFromTraces(context: Context, id: ContainerId): ContainerRecord {
  const { kernel, options, pods } = context;
  const paths = pathsOf(options, id);
  const text = textOf(paths.config);
  const byId = [id, `crisp-${id}.scope`].flatMap((name) => kernel.cgroups.find(name));
  const groups = byId.length > 0 ? byId : groupsOfSpec(context, text);
  const path = groups[0] ?? `/${id}`;
  const sandboxId = podOf(text, path);
  return {
    version: 1,
    id,
    sandboxId,
    configHash: '',
    metadata: { name: `unreadable-${id.slice(0, 12)}`, attempt: 0 },
    state: 'exited',
    handler: '',
    image: { id: '' as ImageId, name: '', reference: '', requested: '', userSpecified: '' },
    labels: {},
    annotations: {},
    mounts: [],
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: noResources,
    stopSignal: '',
    logPath: '',
    tty: false,
    stdin: false,
    stdinOnce: false,
    sharedPid: false,
    cgroup: { oci: '', path },
    createdAt: nowNanoseconds(),
    startedAt: undefined,
    exit: unknownExit(),
    process: undefined,
    monitor: monitorOf(context, id, paths),
    intents: [
      { kind: 'bundle', path: paths.bundle },
      { kind: 'rootfs', target: paths.rootfs },
      ...volumesOf(context, paths),
      ...groups.map((group) => ({ kind: 'cgroup', path: group }) as const),
      ...handlersOf(options.state, id).map((handler) => ({ kind: 'runtime', handler }) as const),
      { kind: 'monitor', cgroup: pods.get(sandboxId)?.monitorCgroup ?? path },
    ],
  };
}

/** Where a plugin has chosen the name of the cgroup. A later container may have the name by now. */
function groupsOfSpec(context: Context, text: string): string[] {
  const taken = context.containers.list().filter(holdsCgroup);
  const isFree = (path: string) =>
    !taken.some(({ cgroup }) => isWithin(path, cgroup.path) || isWithin(cgroup.path, path));
  return groupsNamed(context, text).filter(isFree);
}

function groupsNamed({ kernel }: Context, text: string): string[] {
  const path = cgroupsPathOf(text);
  if (!isUnit(path)) return path.split('/').length > 2 && kernel.cgroups.exists(path) ? [path] : [];
  const [, prefix = '', name = ''] = path.split(':');
  return name === '' ? [] : kernel.cgroups.find(scopeOf(prefix, name));
}

function cgroupsPathOf(text: string): string {
  try {
    return String((parseSpec(text) as OciSpec).linux.cgroupsPath);
  } catch {
    return ''; // it is gone, or damaged as well
  }
}

/** The pod by its pins and files in the spec, or by the path of the cgroup; empty where neither names it. */
function podOf(spec: string, cgroup: string): SandboxId {
  const named = /\/sandboxes\/([0-9a-f]{64})\//.exec(spec)?.[1];
  const above = dirname(cgroup).match(/[0-9a-f]{64}/)?.[0];
  return (named ?? above ?? '') as SandboxId;
}

const volumesOf = ({ kernel }: Context, { bundle, volumes }: ContainerPaths): ContainerIntent[] =>
  kernel.mounts
    .below(bundle)
    .filter(({ target }) => target.startsWith(`${volumes}/`))
    .map(({ target }) => ({ kind: 'image-volume', target }));

/** The handlers whose OCI runtime knows the container. */
const handlersOf = (state: string, id: ContainerId): string[] =>
  namesIn(`${state}/oci`).filter((handler) => existsSync(`${state}/oci/${handler}/${id}`));

/** By its pid file; the process that has this pid now must have the container's id among its arguments. */
function monitorOf(
  { kernel }: Context,
  id: ContainerId,
  { monitorPidFile }: ContainerPaths,
): ContainerRecord['monitor'] {
  const pid = Number(textOf(monitorPidFile));
  if (!Number.isInteger(pid) || pid < 2) return undefined;
  const process = kernel.processes.reference(pid);
  return textOf(`/proc/${pid}/cmdline`).split('\0').includes(id) ? process : undefined;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).map((name) => basename(name));
  } catch {
    return [];
  }
}
