import { stat } from 'node:fs/promises';
import { CrispError, describeError } from '#core/errors.ts';
import { deviceNumbers, type OciDevice } from '../spec/devices.ts';
import { addHooks } from '../spec/hooks.ts';
import { byDepth, inContainer } from '../spec/mounts.ts';
import type { OciMount, OciSpec } from '../spec/oci.ts';
import type { SourcedEdits } from './devices.ts';
import type { CdiDeviceNode, CdiMount, CdiNetDevice } from './spec.ts';

/** Edits a container's specification in place. Throws FailedPrecondition, naming the file, where it does not match the host. */
export async function applyEdits(spec: OciSpec, all: readonly SourcedEdits[]): Promise<void> {
  for (const { file, env, deviceNodes, mounts, hooks, additionalGids, netDevices, intelRdt } of all) {
    for (const entry of env) setVariable(spec, entry);
    for (const node of deviceNodes) addDevice(spec, node, await deviceOf(file, node, spec));
    for (const mount of mounts) addMount(spec, file, ociMount(mount));
    for (const { stage, ...hook } of hooks) addHooks(spec, stage, [hook]);
    const groups = new Set([...(spec.process.user.additionalGids ?? []), ...additionalGids]);
    spec.process.user.additionalGids = [...groups];
    for (const device of netDevices) addNetDevice(spec, file, device);
    // One container is in one class: the last edit decides, as in CDI's own library.
    if (intelRdt) spec.linux.intelRdt = { ...intelRdt };
  }
  // A vendor's directory must hide neither what the client has mounted below it nor the pod's own files.
  spec.mounts = byDepth(spec.mounts);
}

function setVariable(spec: OciSpec, entry: string): void {
  const name = entry.slice(0, entry.indexOf('=') + 1);
  spec.process.env = [...spec.process.env.filter((other) => !other.startsWith(name)), entry];
}

/** The spec's device node must match the host's: else the container would get another device. */
async function deviceOf(file: string, node: CdiDeviceNode, { process }: OciSpec): Promise<OciDevice> {
  const refuse = (why: string, cause?: unknown) =>
    new CrispError('FailedPrecondition', `CDI spec ${file}: device ${node.hostPath} ${why}`, {
      hint: 'check that the device exists, and have its driver regenerate the spec',
      cause,
    });
  const found = await stat(node.hostPath).catch((error: unknown) => {
    throw refuse(`is not on this node: ${describeError(error)}`, error);
  });
  const type = found.isBlockDevice() ? 'b' : found.isCharacterDevice() ? 'c' : found.isFIFO() ? 'p' : '';
  const wanted = node.type === 'u' ? 'c' : node.type;
  if (type === '') throw refuse('is not a device');
  if (wanted !== '' && wanted !== type) throw refuse(`is of type ${type}, not ${wanted}`);
  const { major, minor } = deviceNumbers(found.rdev);
  const differs = (given: number | undefined, is: number) => given !== undefined && given !== is;
  const isGiven = node.major !== undefined && node.major !== 0;
  if (type !== 'p' && isGiven && (differs(node.major, major) || differs(node.minor, minor))) {
    throw refuse(`is ${major}:${minor}, not ${node.major}:${node.minor ?? 0}`);
  }
  const { uid, gid } = process.user;
  return {
    type,
    path: node.path,
    ...(type === 'p' ? {} : { major, minor }),
    fileMode: node.fileMode ?? found.mode & 0o777,
    uid: node.uid ?? (uid > 0 ? uid : found.uid),
    gid: node.gid ?? (gid > 0 ? gid : found.gid),
  };
}

function addDevice({ linux }: OciSpec, { permissions }: CdiDeviceNode, device: OciDevice): void {
  linux.devices = [...(linux.devices ?? []).filter(({ path }) => path !== device.path), device];
  const { type, major, minor } = device;
  if (major === undefined || minor === undefined) return;
  linux.resources.devices = [
    ...(linux.resources.devices ?? []),
    { allow: true, type, major, minor, access: permissions || 'rwm' },
  ];
}

const ociMount = ({ hostPath, containerPath, options, type }: CdiMount): OciMount => {
  const bound = options.some((option) => option === 'bind' || option === 'rbind');
  const binds = type === 'bind' || type === '';
  return {
    destination: inContainer(containerPath),
    type: binds ? 'bind' : type,
    source: hostPath,
    options: binds && !bound ? ['rbind', ...options] : [...options],
  };
};

/** Another of the same name on the node is replaced; two cannot have one name in the container. */
function addNetDevice({ linux }: OciSpec, file: string, { hostInterfaceName, name }: CdiNetDevice): void {
  const others = { ...linux.netDevices };
  delete others[hostInterfaceName];
  const rival = Object.entries(others).find(([, other]) => other.name === name)?.[0];
  if (rival !== undefined) {
    throw new CrispError(
      'FailedPrecondition',
      `CDI spec ${file}: network device ${hostInterfaceName} has the name ${name} in the container, as ${rival} has`,
      { hint: 'request one of them, or have its driver regenerate the spec with another name' },
    );
  }
  linux.netDevices = { ...others, [hostInterfaceName]: { name } };
}

/** Replaces another at the same path. */
function addMount(spec: OciSpec, file: string, mount: OciMount): void {
  if (mount.destination === '/') {
    throw new CrispError(
      'FailedPrecondition',
      `CDI spec ${file}: a mount at / would hide the container's root`,
      {
        hint: 'have its driver regenerate the spec, with a path below /',
      },
    );
  }
  spec.mounts = [...spec.mounts.filter(({ destination }) => destination !== mount.destination), mount];
}
