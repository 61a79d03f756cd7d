import assert from 'node:assert/strict';
import test from 'node:test';
import { parseResult } from '../cni/result.ts';
import { differences } from './check.ts';

const netns = '/run/netns/x';
const result = parseResult(
  JSON.stringify({
    interfaces: [
      { name: 'cni0', mac: '02:00:00:00:00:01' },
      { name: 'veth1', mac: '02:00:00:00:00:02' },
      { name: 'eth1', mac: '02:00:00:00:00:0b', sandbox: netns },
      { name: 'eth0', mac: '02:00:00:00:00:0A', sandbox: netns },
    ],
    ips: [
      { address: '10.1.0.5/24', interface: 3 },
      { address: 'FD00:0:0::5/64', interface: 3 },
      { address: '10.2.0.5/24', interface: 2 }, // of another plugin's link
      { address: '10.1.0.1/24', interface: 0 },
    ],
    routes: [{ dst: '0.0.0.0/0' }, { dst: 'FD00:0:1::/48', gw: 'fd00::1' }, { gw: '10.1.0.1' }, 7],
  }),
  '1.0.0',
);
const attachment = { result, interfaceName: 'eth0' };
const whole = {
  mac: '02:00:00:00:00:0a',
  up: true,
  mtu: 1500,
  promiscuous: false,
  allMulticast: false,
  sysctls: {},
  addresses: ['fd00::5/64', '10.1.0.5/24', 'fe80::1/64'],
  routes: [
    { to: '0.0.0.0/0', gateway: '10.1.0.1' },
    { to: 'fd00:0:1::/48', gateway: undefined },
    { to: '10.1.0.0/24', gateway: undefined },
  ],
};

test('a link that has what the result says, and more, differs in nothing', () => {
  assert.deepEqual(differences(attachment, whole), []);
  const { mac: _, ...without } = result.interfaces?.[3] ?? {};
  const unnamed = { ...result, interfaces: result.interfaces?.with(3, without) ?? [] };
  assert.deepEqual(differences({ ...attachment, result: unnamed }, { ...whole, mac: 'other' }), []);
  assert.deepEqual(differences({ ...attachment, result: undefined }, undefined), [], 'not yet made');
});

test('each thing that is gone or changed is named', () => {
  const cases = [
    [undefined, 'the pod has no link eth0'],
    [{ ...whole, up: false }, 'its link eth0 carries no frames'],
    [
      { ...whole, mac: '02:00:00:00:00:0b' },
      'its link eth0 has the MAC address 02:00:00:00:00:0b, not 02:00:00:00:00:0a',
    ],
    [{ ...whole, addresses: whole.addresses.slice(0, 1) }, 'its link eth0 lacks the address 10.1.0.5/24'],
    [
      { ...whole, addresses: ['fd00::5/128', '10.1.0.5/24'] },
      'its link eth0 lacks the address FD00:0:0::5/64',
    ],
    [{ ...whole, routes: whole.routes.slice(1) }, 'it has no route to 0.0.0.0/0 by eth0'],
    [{ ...whole, routes: whole.routes.toSpliced(1, 1) }, 'it has no route to FD00:0:1::/48 by eth0'],
  ] as const;
  for (const [found, expected] of cases) assert.deepEqual(differences(attachment, found), [expected]);
  const empty = { ...whole, mac: 'x', up: false, addresses: [], routes: [] };
  assert.equal(differences(attachment, empty).length, 6, 'all of them, not the first alone');
});
