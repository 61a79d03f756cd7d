import assert from 'node:assert/strict';
import test from 'node:test';
import { formatIp, parseIp } from '#linux/net/ip-address.ts';
import { parseNetworkConfig } from '../cni/conflist.ts';
import { isInProcess } from '../in-process.ts';
import { limitsOf } from './bandwidth.ts';
import { candidates } from './host-local.ts';
import { chainsOf } from './nat-rules.ts';
import { bridgePlan } from './plan.ts';

const IPAM = { type: 'host-local', ranges: [[{ subnet: '10.1.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] };
const PORTMAP = { type: 'portmap', capabilities: { portMappings: true } };

function config(
  bridge: object = {},
  ipam: object = {},
  others: readonly object[] = [PORTMAP],
  list: object = {},
) {
  const plugins = [{ type: 'bridge', ipam: { ...IPAM, ...ipam }, ...bridge }, ...others];
  return parseNetworkConfig(
    '/x.conflist',
    JSON.stringify({ cniVersion: '1.0.0', name: 'x', plugins, ...list }),
  );
}

test('a plain bridge network is made in-process, with the defaults of the plugins', () => {
  assert.deepEqual(bridgePlan(config()), {
    bridge: 'cni0',
    gateway: false,
    defaultGateway: false,
    masquerade: false,
    hairpin: false,
    forceAddress: false,
    mtu: 0,
    directory: '/var/lib/cni/networks/x',
    ranges: [{ family: 4, prefixLength: 24, first: 0x0a010001n, last: 0x0a0100fen, gateway: 0x0a010001n }],
    routes: [{ family: 4, destination: '0.0.0.0', prefixLength: 0, gateway: undefined }],
    loopback: false,
    portmap: { snat: true },
    bandwidth: undefined,
    tuning: undefined,
    firewall: undefined,
    backends: {},
  });
  const chosen = config({ ipMasqBackend: 'nftables' }, {}, [{ ...PORTMAP, backend: 'iptables' }]);
  assert.deepEqual(bridgePlan(chosen)?.backends, { masquerade: 'nftables', ports: 'iptables' });
  const inOrder = [{ type: 'loopback' }, { type: 'bridge', ipam: IPAM }];
  assert.equal(bridgePlan(config({}, {}, [], { plugins: inOrder }))?.loopback, true);
  assert.equal(bridgePlan(config({}, {}, []))?.portmap, undefined);
});

test('ptp, as kindnet has it', () => {
  const ptp = { type: 'ptp', ipMasq: false, mtu: 1500, ipam: { ...IPAM, dataDir: '/run/cni-ipam-state' } };
  const planned = (keys: object = {}, others: readonly object[] = [PORTMAP]) =>
    bridgePlan(config({}, {}, [], { plugins: [{ ...ptp, ...keys }, ...others] }));
  assert.deepEqual(planned(), {
    ...bridgePlan(config()),
    bridge: undefined,
    mtu: 1500,
    directory: '/run/cni-ipam-state/x',
  });
  for (const keys of [{ bridge: 'cni0' }, { isGateway: true }, { dns: {} }, { mtu: 68 }, { ipam: {} }])
    assert.equal(planned(keys), undefined, JSON.stringify(keys));
  assert.equal(planned({}, [{ type: 'bridge', ipam: IPAM }]), undefined);
  assert.equal(bridgePlan(config({}, {}, [], { plugins: [PORTMAP, ptp] })), undefined);
});

test('firewall as the plugin can be called: not by early versions, and a policy for a bridge needs one', () => {
  const walled = (keys: object, list: object = {}) => config({}, {}, [{ type: 'firewall', ...keys }], list);
  const policy = { ingressPolicy: 'same-bridge' };
  assert.equal(bridgePlan(walled(policy))?.firewall?.sameBridge, true);
  assert.equal(bridgePlan(walled({}, { cniVersion: '0.4.0' }))?.firewall?.sameBridge, false);
  assert.equal(bridgePlan(walled({}, { cniVersion: '0.3.1' })), undefined);
  const ptp = (keys: object) => ({
    plugins: [
      { type: 'ptp', ipam: IPAM },
      { type: 'firewall', ...keys },
    ],
  });
  assert.ok(bridgePlan(walled({}, ptp({}))));
  assert.equal(bridgePlan(walled({}, ptp(policy))), undefined);
});

test('what is not fully supported in-process is left to the plugins', () => {
  const none = (what: string, ...parts: Parameters<typeof config>) =>
    assert.equal(bridgePlan(config(...parts)), undefined, what);
  none('unknown key', { whatever: 1 });
  none('a key of the prototype', JSON.parse('{"__proto__": {}, "toString": 1}'));
  for (const keys of [
    { vlan: 5 },
    { promiscMode: true },
    { forceAddress: 1 },
    { dns: {} },
    { macspoofchk: true },
    { ipMasqBackend: 'ebtables' },
  ])
    none(JSON.stringify(keys), keys);
  none('a capability of the bridge', { capabilities: { mac: true } });
  none('text for a boolean', { isGateway: 'true' });
  none('no name of a link', { bridge: 'a/b' });
  none('too long a name', { bridge: 'abcdefghijklmnop' });
  none('no ipam', { ipam: undefined });
  none('another ipam', {}, { type: 'dhcp' });
  for (const keys of [
    { resolvConf: '/x' },
    { args: {} },
    { ranges: [] },
    { dataDir: 'relative' },
    { routes: null },
  ])
    none(JSON.stringify(keys), {}, keys);
  const ranges = (...sets: object[][]) => none(JSON.stringify(sets), {}, { ranges: sets });
  ranges([{ subnet: '10.1.0.0/24' }, { subnet: '10.2.0.0/24' }]);
  ranges([{ subnet: '10.1.0.0/24' }], [{ subnet: '10.2.0.0/24' }]);
  for (const subnet of [
    '10.1.0.1/24',
    '10.1.0.0/31',
    '10.1.0.0',
    '10.1.0.0/024',
    '::ffff:10.0.0.0/120',
    'x/8',
    '',
  ])
    ranges([{ subnet }]);
  ranges([{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.9', rangeEnd: '10.1.0.8' }]);
  ranges([{ subnet: '10.1.0.0/24', rangeEnd: '10.1.0.255' }]);
  ranges([{ subnet: '10.1.0.0/24', gateway: '10.2.0.1' }]);
  none('a route of the other family', {}, { routes: [{ dst: '::/0' }] });
  none('a route with an mtu', {}, { routes: [{ dst: '0.0.0.0/0', mtu: 1400 }] });
  none('two default routes', { isDefaultGateway: true });
  for (const other of [
    { type: 'firewall', backend: 'firewalld' },
    { type: 'bandwidth', ingressRate: '1' },
    { type: 'toString' },
    { ...PORTMAP, markMasqBit: 13 },
    { ...PORTMAP, backend: 'auto' },
    { ...PORTMAP, conditionsV4: [] },
    { ...PORTMAP, capabilities: { portMappings: true, dns: true } },
    { type: 'bridge', ipam: IPAM },
  ])
    none(JSON.stringify(other), {}, {}, [other]);
  none('two portmaps', {}, {}, [PORTMAP, PORTMAP]);
  none('portmap alone', {}, {}, [], { plugins: [PORTMAP] });
  none('portmap before the bridge', {}, {}, [], { plugins: [PORTMAP, { type: 'bridge', ipam: IPAM }] });
  none('a later version', {}, {}, [PORTMAP], { cniVersion: '1.1.0' });
  none('too long a name for a comment', {}, {}, [PORTMAP], { name: 'x'.repeat(101) });
});

test('bandwidth is limited by the configuration, or else by the pod, where the plugin would take it', () => {
  const native = (keys: object, bandwidth?: object) =>
    isInProcess('auto', {
      config: config({}, {}, [{ type: 'bandwidth', capabilities: { bandwidth: true }, ...keys }]),
      capabilities: bandwidth ? { bandwidth } : {},
    });
  const limit = { ingressRate: 8e6, ingressBurst: 8e5 };
  assert.equal(native({}), true);
  assert.equal(native({}, limit), true);
  assert.equal(native(limit, { ingressRate: 1.5, ingressBurst: 1 }), true);
  assert.equal(native({ capabilities: {} }, { ingressRate: 1.5, ingressBurst: 1 }), true);
  for (const wrong of [
    { ...limit, ingressRate: 0 },
    { ...limit, ingressBurst: 0 },
    { ...limit, ingressRate: 7 },
    { ...limit, ingressRate: 1000.5 },
    { ...limit, ingressBurst: 8 * 2 ** 32 },
    { egressRate: -8, egressBurst: 8 },
  ])
    assert.deepEqual([native({}, wrong), native(wrong)], [false, false], JSON.stringify(wrong));
  assert.deepEqual(limitsOf({ bandwidth: limit }, { bandwidth: { egressRate: 1e6, egressBurst: 1e6 } }), {
    toPod: { rate: 8e6, burst: 8e5 },
    fromPod: undefined,
  });
  const first = [
    { type: 'bandwidth', ...limit },
    { type: 'bridge', ipam: IPAM },
  ];
  assert.equal(bridgePlan(config({}, {}, [], { plugins: first })), undefined);
});

test('ports that no rule can be written for are the plugin portmap’s', () => {
  const native = (port: object) =>
    isInProcess('auto', { config: config(), capabilities: { portMappings: [port] } });
  const port = { hostPort: 1, containerPort: 2, protocol: 'tcp' };
  assert.equal(native(port), true);
  assert.equal(native({ ...port, hostIP: 'fd00::1' }), true);
  for (const hostIP of ['fe80::1%eth0', '::ffff:10.0.0.1', '1.2.3.4 -j ACCEPT', 'x\n-A x'])
    assert.equal(native({ ...port, hostIP }), false, hostIP);
  assert.equal(native({ ...port, protocol: 'icmp' }), false);
});

test('addresses are assigned in turn, the gateway never', () => {
  const range = { family: 4, prefixLength: 29, first: 1n, last: 5n, gateway: 3n } as const;
  const given = (after?: bigint) => [...candidates(range, after)].map(Number);
  assert.deepEqual(given(), [1, 2, 4, 5]);
  assert.deepEqual(given(2n), [4, 5, 1, 2]);
  assert.deepEqual(given(5n), [1, 2, 4, 5]);
  assert.deepEqual(given(77n), [1, 2, 4, 5]); // of an earlier range
});

test('addresses read and written', () => {
  const same = (text: string, expected = text) => {
    const ip = parseIp(text);
    assert.ok(ip, text);
    assert.equal(formatIp(ip), expected);
  };
  same('10.0.255.1');
  same('FD00:0:0:77::00A', 'fd00:0:0:77::a');
  same('::', '::');
  same('1:2:3:4:5:6:7:8');
  same('1::8');
  assert.deepEqual(parseIp('fd00::1:2'), { family: 6, value: (0xfd00n << 112n) + (1n << 16n) + 2n });
  for (const text of ['', '1.2.3', '::1%lo', '::ffff:1.2.3.4', '1.2.3.4/8'])
    assert.equal(parseIp(text), undefined);
});

test('the names of chains are those that the plugins make', () => {
  // As printed by iptables-save after the plugins 1.1.1 had been called with these.
  assert.deepEqual(chainsOf({ network: 'test', id: 'cida' }), {
    masquerade: 'CNI-44bed313db9a27dd8c8fb8d8',
    ports: 'CNI-DN-44bed313db9a27dd8c8fb',
  });
});
