/** Devices with their cgroup rules, CDI devices, and network devices. */
import { stat } from 'node:fs/promises';
import { applyEdits } from '../cdi/apply.ts';
import { checkEdits } from '../cdi/requirements.ts';
import { deviceNumbers, type OciDevice } from '../spec/devices.ts';
import { inContainer } from '../spec/mounts.ts';
import { type Adjusting, attributed, refusal } from './adjusting.ts';

export async function adjustCdiDevices(adjusting: Adjusting): Promise<void> {
  const { cdiDevices = [] } = adjusting.adjustment;
  if (cdiDevices.length === 0) return;
  const { context, oci, pod, spec } = adjusting;
  await attributed(adjusting, 'cdiDevices', async () => {
    const edits = await context.cdi.edits([...new Set(cdiDevices)]);
    await checkEdits(oci, pod, edits);
    await applyEdits(spec, edits);
  });
}

/** What the OCI runtimes make with mknod(2); `u` is an unbuffered character device. */
const TYPES: Readonly<Record<string, string>> = { b: 'b', c: 'c', u: 'c', p: 'p' };
const MAX_MAJOR = 0xfff;
const MAX_MINOR = 0xfffff;

export async function adjustDevices(adjusting: Adjusting): Promise<void> {
  const { devices } = adjusting.adjustment;
  if (!devices) return;
  const { linux } = adjusting.spec;
  for (const path of devices.removed) removeDevice(adjusting, inContainer(path));
  for (const device of devices.set) {
    const made = ociDevice(adjusting, device);
    await checkBound(adjusting, made);
    removeDevice(adjusting, made.path);
    linux.devices = [...(linux.devices ?? []), made];
    const { type, major, minor } = made;
    if (major === undefined || minor === undefined) continue;
    const rule = { allow: true, type, major, minor, access: 'rwm' };
    linux.resources.devices = [...(linux.resources.devices ?? []), rule];
  }
}

export function adjustDeviceRules(adjusting: Adjusting): void {
  const { deviceRules = [] } = adjusting.adjustment;
  if (deviceRules.length === 0) return;
  const { resources } = adjusting.spec.linux;
  const rules = deviceRules.map(({ allow, type, major, minor, access }) => {
    const numbers = [major, minor].every((number) => number === undefined || number >= 0);
    if (!/^[abc]$/.test(type) || !/^[rwm]{1,3}$/.test(access) || !numbers) {
      const why = `have ${type} ${major ?? '*'}:${minor ?? '*'} ${access}, which is no rule`;
      throw refusal(adjusting, ['deviceRules'], why, 'use a, b or c, numbers of devices, and letters of rwm');
    }
    if (type === 'a') return { allow, type, access };
    return {
      allow,
      type,
      ...(major === undefined ? {} : { major }),
      ...(minor === undefined ? {} : { minor }),
      access,
    };
  });
  resources.devices = [...(resources.devices ?? []), ...rules];
}

type AdjustedDevice = NonNullable<Adjusting['adjustment']['devices']>['set'][number];

function ociDevice(adjusting: Adjusting, device: AdjustedDevice): OciDevice {
  const refuse = (why: string, hint: string) => refusal(adjusting, ['devices', device.path], why, hint);
  const path = inContainer(device.path);
  if (!device.path.startsWith('/') || path === '/' || path.includes('\0'))
    throw refuse('is no path of a device', 'give an absolute path');
  const type = TYPES[device.type];
  if (type === undefined) throw refuse(`has the type ${JSON.stringify(device.type)}`, 'use b, c, u or p');
  const { major, minor, uid, gid, fileMode } = device;
  const isNumber = (value: number, most: number) => Number.isInteger(value) && value >= 0 && value <= most;
  if (!isNumber(major, MAX_MAJOR) || !isNumber(minor, MAX_MINOR))
    throw refuse(`has the number ${major}:${minor}`, 'give the numbers of the device on this node');
  return {
    type,
    path,
    ...(type === 'p' ? {} : { major, minor }),
    ...(fileMode === undefined ? {} : { fileMode: fileMode & 0o777 }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  };
}

/** In a user namespace the OCI runtime cannot make the node: it binds the one that is at the same path on the host. */
async function checkBound(adjusting: Adjusting, { path, type, major, minor }: OciDevice): Promise<void> {
  if (!adjusting.pod.userNamespace) return;
  const found = await stat(path).catch(() => undefined);
  const numbers = found && deviceNumbers(found.rdev);
  if (type !== 'p' && numbers?.major === major && numbers?.minor === minor) return;
  const why = `is not the device ${major}:${minor} on this node, which a pod with a user namespace needs`;
  throw refusal(adjusting, ['devices', path], why, 'use the path that the device has on the node');
}

/** With its rule, unless another node has the same number. */
function removeDevice({ spec: { linux } }: Adjusting, path: string): void {
  const all = linux.devices ?? [];
  const removed = all.filter((device) => device.path === path);
  if (removed.length === 0) return;
  const kept = all.filter((device) => device.path !== path);
  const isSame = (a: { type?: string; major?: number; minor?: number }, b: OciDevice) =>
    b.major !== undefined && a.type === b.type && a.major === b.major && a.minor === b.minor;
  const lost = removed.filter((device) => !kept.some((other) => isSame(other, device)));
  linux.devices = kept;
  linux.resources.devices = (linux.resources.devices ?? []).filter(
    (rule) => !rule.allow || !lost.some((device) => isSame(rule, device)),
  );
}

/** dev_valid_name() of the kernel. */
const INTERFACE = /^(?!\.{1,2}$)[!-.0-9;-~]{1,15}$/;

export async function adjustNetDevices(adjusting: Adjusting): Promise<void> {
  const { netDevices } = adjusting.adjustment;
  if (!netDevices) return;
  const { oci, pod, spec } = adjusting;
  // `__proto__` is a name of an interface, too.
  const devices = new Map(Object.entries(spec.linux.netDevices ?? {}));
  for (const name of netDevices.removed) devices.delete(name);
  for (const [host, { name }] of Object.entries(netDevices.set)) {
    const inside = name || host;
    const refuse = (why: string, hint: string) => refusal(adjusting, ['netDevices', host], why, hint);
    if (!INTERFACE.test(host) || !INTERFACE.test(inside))
      throw refuse(
        `as ${JSON.stringify(inside)} is no name of an interface`,
        'use at most 15 characters without /',
      );
    if (pod.network === 'node')
      throw refuse(
        'cannot be moved into a pod that is on the network of the node',
        'use a pod with its own network',
      );
    const rival = [...devices].find(([other, { name: taken }]) => other !== host && taken === inside);
    if (rival) throw refuse(`would have the name ${inside}, as ${rival[0]} has`, 'use another name');
    devices.set(host, { name: inside });
  }
  if (Object.keys(netDevices.set).length > 0) {
    const { version, netDevices: moves } = await oci.features();
    const [host = ''] = Object.keys(netDevices.set);
    const why = `is not moved by runtime handler ${oci.handler} (${version})`;
    if (!moves) throw refusal(adjusting, ['netDevices', host], why, 'use runc 1.4, crun 1.22 or later');
  }
  delete spec.linux.netDevices;
  if (devices.size > 0) spec.linux.netDevices = Object.fromEntries(devices);
}
