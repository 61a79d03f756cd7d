import assert from 'node:assert/strict';
import test from 'node:test';
import { deviceFeatures } from './device-features.ts';

test('network devices count only where they are reported', () => {
  const netDevices = (linux: unknown) =>
    deviceFeatures(linux as Parameters<typeof deviceFeatures>[0], 'runc version 1.4.1').netDevices;
  assert.equal(netDevices({ netDevices: { enabled: true } }), true);
  for (const linux of [
    undefined,
    {},
    { netDevices: null },
    { netDevices: { enabled: 1 } },
    { netDevices: 7 },
  ])
    assert.equal(netDevices(linux), false);
});

test('Intel RDT is known from the report, else from the version', () => {
  const rdt = (intelRdt: unknown, version: string) =>
    deviceFeatures({ intelRdt } as Parameters<typeof deviceFeatures>[0], version).intelRdt;
  const all = { enabled: true, schemata: true, monitoring: true };
  assert.equal(rdt(all, 'runc version 1.5.0'), 'all');
  assert.equal(rdt({ ...all, monitoring: false }, 'runc version 1.5.0'), 'classes');
  assert.equal(rdt({ ...all, enabled: false }, 'runc version 1.5.0'), 'none');
  assert.equal(rdt({ enabled: true }, 'crun version 1.23'), 'classes');
  assert.equal(rdt({ enabled: true }, 'crun version 1.28'), 'all');
  assert.equal(rdt(undefined, 'runc version 1.1.5+ds1'), 'classes');
  assert.equal(rdt(undefined, 'crun version 1.10'), 'classes');
  assert.equal(rdt(undefined, 'crun version 1.8.1'), 'none');
  assert.equal(rdt(undefined, 'kata-runtime 3'), 'none');
});
