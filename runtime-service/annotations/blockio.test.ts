import assert from 'node:assert/strict';
import test from 'node:test';
import { blockIoOf } from './blockio.ts';

const DEVICES: Readonly<Record<string, { major: number; minor: number }[]>> = {
  '/dev/sd*': [
    { major: 8, minor: 0 },
    { major: 8, minor: 16 },
  ],
  '/dev/disk/by-id/*SSD*': [{ major: 8, minor: 16 }],
};
const find = async (pattern: string) => DEVICES[pattern] ?? [];

test('a later rule goes before an earlier one, for what it sets; patterns without a device are named', async () => {
  const { blockIO, unmatched } = await blockIoOf(
    [
      { devices: undefined, weight: 80, rates: {} },
      {
        devices: ['/dev/sd*', '/dev/nvme*'],
        weight: 50,
        rates: { throttleReadBps: 50, throttleWriteIOPS: 5 },
      },
      { devices: ['/dev/disk/by-id/*SSD*'], weight: undefined, rates: { throttleReadBps: 100 } },
    ],
    find,
  );
  assert.deepEqual(unmatched, ['/dev/nvme*']);
  assert.deepEqual(blockIO, {
    weight: 80,
    weightDevice: [
      { major: 8, minor: 0, weight: 50 },
      { major: 8, minor: 16, weight: 50 },
    ],
    throttleReadBpsDevice: [
      { major: 8, minor: 0, rate: 50 },
      { major: 8, minor: 16, rate: 100 },
    ],
    throttleWriteIOPSDevice: [
      { major: 8, minor: 0, rate: 5 },
      { major: 8, minor: 16, rate: 5 },
    ],
  });
});

test('on this machine only block devices are found', async () => {
  const { blockIO, unmatched } = await blockIoOf([
    { devices: ['/dev/null', '/dev/absent*'], weight: undefined, rates: { throttleReadBps: 1 } },
  ]);
  assert.deepEqual([blockIO, unmatched], [{}, ['/dev/null', '/dev/absent*']]);
});
