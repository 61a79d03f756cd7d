import { lstat, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, describeError } from '#core/errors.ts';
import type { DeviceRequest, SecurityContext } from '../config.ts';
import type { HandlerOptions } from '../options.ts';
import type { OciDeviceRule, OciLinux } from './oci.ts';

export type OciDevice = NonNullable<OciLinux['devices']>[number];

export interface ContainerDevices {
  readonly devices: OciDevice[];
  readonly rules: OciDeviceRule[];
}

/** The two parts of a device number as stat(2) gives it (gnu_dev_makedev). */
export const deviceNumbers = (device: number): { major: number; minor: number } => ({
  major: major(device),
  minor: minor(device),
});

const major = (device: number): number => ((device >>> 8) & 0xfff) | ((device / 2 ** 32) & 0xfffff000);
const minor = (device: number): number => (device & 0xff) | ((device >>> 12) & 0xfff00);

/** Whom requested devices belong to instead of the owner of the host's node. */
export type DeviceOwner = Partial<Pick<SecurityContext, 'runAsUser' | 'runAsGroup'>>;

export interface DeviceAccess {
  /** The container has the nodes of all devices of the host. */
  readonly nodes: boolean;
  /** It may use any device. */
  readonly any: boolean;
}

/** Of the privileged both, unless their handler leaves out the devices of the host. */
export function deviceAccess(
  privileged: boolean,
  handler: Pick<
    HandlerOptions,
    'privilegedWithoutHostDevices' | 'privilegedWithoutHostDevicesAllDevicesAllowed'
  >,
): DeviceAccess {
  const nodes = privileged && !handler.privilegedWithoutHostDevices;
  return {
    nodes,
    any: nodes || (privileged && handler.privilegedWithoutHostDevicesAllDevicesAllowed === true),
  };
}

/**
 * Device nodes and rules. Without access to all: nothing but the OCI runtime's standard nodes and the requested ones; mknod
 * is allowed for any device, as in both peers, while access is not.
 */
export async function containerDevices(
  requested: readonly DeviceRequest[],
  access: DeviceAccess,
  owner: DeviceOwner = {},
): Promise<ContainerDevices> {
  if (access.nodes) {
    return { devices: await walk('/dev', '/dev', SKIP), rules: [{ allow: true, access: 'rwm' }] };
  }
  const rules: OciDeviceRule[] = [
    { allow: false, access: 'rwm' },
    { allow: true, type: 'c', access: 'm' },
    { allow: true, type: 'b', access: 'm' },
  ];
  const devices: OciDevice[] = [];
  for (const request of requested) {
    const found = await requestedDevices(request);
    devices.push(...found.map((device) => owned(device, owner)));
    for (const { type, major: ma, minor: mi } of found) {
      rules.push({
        allow: true,
        type,
        access: request.permissions || 'rwm',
        ...(ma === undefined ? {} : { major: ma }),
        ...(mi === undefined ? {} : { minor: mi }),
      });
    }
  }
  return { devices, rules: access.any ? [{ allow: true, access: 'rwm' }] : rules };
}

const owned = (device: OciDevice, { runAsUser, runAsGroup }: DeviceOwner): OciDevice => ({
  ...device,
  ...(runAsUser === undefined ? {} : { uid: Number(runAsUser) }),
  ...(runAsGroup === undefined ? {} : { gid: Number(runAsGroup) }),
});

async function requestedDevices(request: DeviceRequest): Promise<OciDevice[]> {
  const target = request.containerPath || request.hostPath;
  try {
    const found = await stat(request.hostPath);
    if (found.isDirectory()) return await walk(request.hostPath, target, new Set());
    const node = await nodeOf(request.hostPath, target);
    if (node) return [node];
  } catch (error) {
    throw new CrispError('InvalidArgument', `device ${request.hostPath}: ${describeError(error)}`, {
      cause: error,
      hint: 'name a device that exists on the node',
    });
  }
  throw new CrispError('InvalidArgument', `device ${request.hostPath} is not a device node`, {
    hint: 'use mounts for regular files',
  });
}

/** Made by the OCI runtime or by a mount of the container. */
const SKIP = new Set(['pts', 'shm', 'mqueue', 'fd', 'console', 'ptmx', 'core', 'stdin', 'stdout', 'stderr']);

/** In the order of the directory, which is read whole before its entries are looked at: those of one at the same time. */
async function walk(directory: string, target: string, skip: ReadonlySet<string>): Promise<OciDevice[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const found = await Promise.all(
    entries
      .filter(({ name }) => !skip.has(name))
      .map(async (entry): Promise<OciDevice[]> => {
        const from = join(directory, entry.name);
        const to = join(target, entry.name);
        if (entry.isDirectory()) return walk(from, to, new Set());
        // Most of what is in a directory that is no device's has its kind in the directory.
        if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
        const node = await nodeOf(from, to).catch(() => undefined);
        return node ? [node] : [];
      }),
  );
  return found.flat();
}

async function nodeOf(path: string, target: string): Promise<OciDevice | undefined> {
  const found = await lstat(path).then((link) => (link.isSymbolicLink() ? stat(path) : link));
  if (!found.isCharacterDevice() && !found.isBlockDevice()) return undefined;
  return {
    type: found.isBlockDevice() ? 'b' : 'c',
    path: target,
    major: major(found.rdev),
    minor: minor(found.rdev),
    fileMode: found.mode & 0o777,
    uid: found.uid,
    gid: found.gid,
  };
}
