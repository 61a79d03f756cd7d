import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { silentLog } from '#core/operation.ts';
import { requestedCapabilities } from './requested-address.ts';

const asked = (
  annotations: Record<string, string>,
  { allowed = ['cni.crisp/'], ownNetwork = true }: { allowed?: string[]; ownNetwork?: boolean } = {},
) => requestedCapabilities(annotations, { allowed, ownNetwork, log: silentLog });

test('annotations that are allowed become capabilities of CNI', () => {
  const ranges = [
    [{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.9', gateway: '10.1.0.1' }],
    [{ subnet: 'fd00::/64' }],
  ];
  assert.deepEqual(
    asked({
      'cni.crisp/ips': '10.1.0.5/24, fd00::5',
      'cni.crisp/mac': '02:42:AC:11:00:02',
      'cni.crisp/ip-ranges': JSON.stringify(ranges),
      'cni.crisp/infiniband-guid': 'c2:11:22:33:44:55:66:77',
      'cni.crisp/other': 'x',
    }),
    {
      ips: ['10.1.0.5/24', 'fd00::5'],
      mac: '02:42:ac:11:00:02',
      ipRanges: ranges,
      infinibandGUID: 'c2:11:22:33:44:55:66:77',
    },
  );
  assert.deepEqual(asked({}), {});
});

test('what is not allowed, and what has no network of its own, is ignored, whatever its value', () => {
  assert.deepEqual(asked({ 'cni.crisp/mac': 'x' }, { allowed: [] }), {});
  assert.deepEqual(
    asked({ 'cni.crisp/mac': 'x', 'cni.crisp/ips': '10.1.0.5' }, { allowed: ['cni.crisp/ips'] }),
    {
      ips: ['10.1.0.5'],
    },
  );
  assert.deepEqual(asked({ 'cni.crisp/mac': 'x' }, { ownNetwork: false }), {});
});

for (const [key, values] of [
  ['ips', ['', '10.1.0', '10.1.0.5/33', '10.1.0.5,', '10.1.0.5;MAC=x', 'fe80::1%eth0/129']],
  ['mac', ['', '02:42', '02:42:ac:11:00:02:03', '02-42-ac-11-00-02', 'zz:42:ac:11:00:02']],
  ['infiniband-guid', ['c2:11:22:33:44:55']],
  [
    'ip-ranges',
    ['', '{', '[]', '[[]]', '[{}]', '[[{"subnet":"10.1.0.0"}]]', '[[{"subnet":"10.1.0.0/24","x":"y"}]]'],
  ],
] as const)
  test(`a value of ${key} that is not valid is refused with the annotation's name`, () => {
    for (const value of values)
      assert.throws(
        () => asked({ [`cni.crisp/${key}`]: value }),
        (error) =>
          hasCode(error, 'InvalidArgument') &&
          error.message.includes(`cni.crisp/${key}`) &&
          error.hint !== '',
        value,
      );
  });
