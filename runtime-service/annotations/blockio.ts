/** What a class of block IO is for the devices of this node, now. */
import { existsSync } from 'node:fs';
import { glob, stat } from 'node:fs/promises';
import { deviceNumbers } from '../spec/devices.ts';
import type { OciBlockIo } from '../spec/oci.ts';
import type { BlockioClass, Rate } from './blockio-file.ts';

export interface BlockDevice {
  readonly major: number;
  readonly minor: number;
}

const FIELDS: Readonly<Record<Rate, keyof OciBlockIo & `throttle${string}`>> = {
  throttleReadBps: 'throttleReadBpsDevice',
  throttleWriteBps: 'throttleWriteBpsDevice',
  throttleReadIOPS: 'throttleReadIOPSDevice',
  throttleWriteIOPS: 'throttleWriteIOPSDevice',
};

/** `unmatched`: patterns of which this node has no device; the rest of the class counts. */
export async function blockIoOf(
  rules: BlockioClass,
  find: (pattern: string) => Promise<readonly BlockDevice[]> = findDevices,
): Promise<{ readonly blockIO: OciBlockIo; readonly unmatched: readonly string[] }> {
  const blockIO: OciBlockIo = {};
  const unmatched: string[] = [];
  for (const { devices, weight, rates } of rules) {
    if (!devices && weight !== undefined) blockIO.weight = weight;
    for (const pattern of devices ?? []) {
      const found = await find(pattern);
      if (found.length === 0) unmatched.push(pattern);
      for (const device of found) {
        if (weight !== undefined)
          blockIO.weightDevice = replaced(blockIO.weightDevice, { ...device, weight });
        for (const [name, rate] of Object.entries(rates)) {
          const field = FIELDS[name as Rate];
          blockIO[field] = replaced(blockIO[field], { ...device, rate });
        }
      }
    }
  }
  return { blockIO, unmatched };
}

const replaced = <T extends BlockDevice>(list: readonly T[] = [], entry: T): T[] => [
  ...list.filter(({ major, minor }) => major !== entry.major || minor !== entry.minor),
  entry,
];

/** The block devices of a pattern, links followed. A partition is none: the kernel limits whole disks alone. */
async function findDevices(pattern: string): Promise<BlockDevice[]> {
  const devices: BlockDevice[] = [];
  for await (const path of glob(pattern)) {
    const found = await stat(path).catch(() => undefined);
    if (!found?.isBlockDevice()) continue;
    const device = deviceNumbers(found.rdev);
    if (!existsSync(`/sys/dev/block/${device.major}:${device.minor}/partition`)) devices.push(device);
  }
  return devices;
}
