/** Devices that the configuration gives to every container, and those of an annotation that it allows (CRI-O's). */
import { CrispError } from '#core/errors.ts';
import type { DeviceRequest, Labels } from '../config.ts';
import type { ContainerDefaults } from '../options.ts';

/** Of the pod or the container; the second is CRI-O's later name. */
const ANNOTATIONS = ['io.kubernetes.cri-o.Devices', 'devices.crio.io'];
const PATH = '/dev/[^:,\\0]+';
const DEVICE = new RegExp(`^(${PATH})(?::(${PATH}))?(?::([rwm]{1,3}))?$`);

/** `/dev/fuse`, `/dev/fuse:rw`, `/dev/sdc:/dev/xvdc:r`; undefined for what is none of these. */
export function parseDevice(text: string): DeviceRequest | undefined {
  const [, hostPath = '', containerPath = hostPath, permissions = 'rwm'] = DEVICE.exec(text) ?? [];
  if (hostPath === '' || `${hostPath}/${containerPath}`.split('/').includes('..')) return undefined;
  return { hostPath, containerPath, permissions };
}

type Options = Pick<ContainerDefaults, 'allowedDevices' | 'additionalDevices'>;

/**
 * The requested devices, and more at paths that these do not have. Without allowed devices the annotation is not
 * read. Throws InvalidArgument for an annotation of another form, FailedPrecondition for a device that is not allowed.
 */
export function moreDevices(
  requested: readonly DeviceRequest[],
  annotations: Labels,
  { allowedDevices, additionalDevices }: Options,
): DeviceRequest[] {
  const devices = new Map(requested.map((one) => [one.containerPath || one.hostPath, one]));
  const texts =
    allowedDevices.length === 0 ? [] : ANNOTATIONS.flatMap((key) => annotations[key]?.split(',') ?? []);
  const annotated = texts
    .map((text) => text.trim())
    .filter((text) => text !== '')
    .map((text) => allowed(text, allowedDevices));
  const configured = additionalDevices.map(parseDevice).filter((one) => one !== undefined);
  for (const device of [...annotated, ...configured]) {
    if (!devices.has(device.containerPath)) devices.set(device.containerPath, device);
  }
  return [...devices.values()];
}

function allowed(text: string, allowedDevices: readonly string[]): DeviceRequest {
  const device = parseDevice(text);
  if (!device) {
    throw new CrispError('InvalidArgument', `annotation of devices: ${JSON.stringify(text)} is no device`, {
      hint: 'write /dev/NAME, /dev/NAME:/dev/OTHER or /dev/NAME:/dev/OTHER:rwm',
    });
  }
  if (allowedDevices.includes(device.hostPath)) return device;
  throw new CrispError(
    'FailedPrecondition',
    `annotation of devices: ${device.hostPath} is not in container.allowed_devices`,
    { hint: `allowed are: ${allowedDevices.join(', ')}` },
  );
}
