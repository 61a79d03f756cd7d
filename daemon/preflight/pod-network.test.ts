import assert from 'node:assert/strict';
import test from 'node:test';
import type { NodeLink, NodeNetwork } from '#linux/net/node-network.ts';
import { parseNetworkConfig } from '#pod-sandbox/index.ts';
import { lineOf } from './network-files.ts';
import { overlapsWithin, overlapsWithNode } from './overlaps.ts';
import { describeRange, familiesOf, parsePrefix, podNetworkOf } from './pod-network.ts';

const networkOf = (plugins: readonly object[], files: Readonly<Record<string, string>> = {}) =>
  podNetworkOf(
    parseNetworkConfig('/n/10.conflist', JSON.stringify({ cniVersion: '1.0.0', name: 'net', plugins })),
    (path) => files[path],
  );
const hostLocal = (...subnets: string[]) => ({
  type: 'host-local',
  ranges: subnets.map((subnet) => [{ subnet }]),
});

test('what a chain executes: plugins, their ipam, and those that they delegate to', () => {
  const SUBNET =
    'FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n';
  const flannel = networkOf([{ type: 'flannel', delegate: { hairpinMode: true } }, { type: 'portmap' }], {
    '/run/flannel/subnet.env': SUBNET,
  });
  assert.deepEqual(flannel.types, ['flannel', 'bridge', 'host-local', 'portmap']);
  assert.deepEqual(flannel.bridge, { name: 'cni0', isGateway: true });
  assert.deepEqual([flannel.mtu, flannel.lacks], [1450, undefined]);
  assert.deepEqual(flannel.ranges.map(describeRange), ['10.244.3.0/24']);
  assert.deepEqual(flannel.addressDirectories, ['/var/lib/cni/networks/net']);
  assert.match(networkOf([{ type: 'flannel' }]).lacks ?? '', /subnet\.env is not there/);
  const meta = networkOf([
    {
      type: 'multus',
      delegates: [{ plugins: [{ type: 'calico', ipam: { type: 'calico-ipam' } }, { type: 'tuning' }] }],
    },
  ]);
  assert.deepEqual(meta.types, ['multus', 'calico', 'calico-ipam', 'tuning']);
  assert.deepEqual(familiesOf(meta), [4]);
  const dual = networkOf([{ type: 'bridge', bridge: 'b0', ipam: hostLocal('10.1.0.0/24', 'fd00::/64') }]);
  assert.deepEqual(familiesOf(dual), [4, 6]);
  assert.equal(networkOf([{ type: 'macvlan', ipam: hostLocal('10.1.0.0/24') }]).isRouted, false);
});

test('ranges: what is no network is said, parts of a subnet are named', () => {
  const one = (keys: object) => networkOf([{ type: 'bridge', ipam: { type: 'host-local', ...keys } }]);
  for (const [keys, wrong] of [
    [{ subnet: '10.1.0.0' }, /subnet "10\.1\.0\.0" is not a network/],
    [{ subnet: '10.1.0.1/24' }, /subnet 10\.1\.0\.1\/24 is not 10\.1\.0\.0\/24/],
    [{ subnet: '10.1.0.0/33' }, /not a network/],
    [{ ranges: [[{ subnet: 'fd00::/129' }]] }, /not a network/],
    [{ subnet: '10.1.0.0/24', rangeStart: '10.2.0.1' }, /rangeStart "10\.2\.0\.1" is not in 10\.1\.0\.0\/24/],
    [{ subnet: '10.1.0.0/24', gateway: 'x' }, /gateway "x"/],
  ] as const) {
    assert.match(one(keys).invalid.join(), wrong);
    assert.equal(one(keys).ranges.length, 0);
  }
  const part = one({ subnet: '10.1.0.0/24', rangeStart: '10.1.0.10', rangeEnd: '10.1.0.20' });
  assert.deepEqual(part.ranges.map(describeRange), ['10.1.0.10 to 10.1.0.20 of 10.1.0.0/24']);
});

const prefix = (text: string) => parsePrefix(text) ?? assert.fail(text);
const link = (name: string, kind: string, ...addresses: string[]): NodeLink => ({
  name,
  kind,
  mtu: 1500,
  up: true,
  addresses: addresses.map(prefix),
});
const nodeOf = (
  links: readonly NodeLink[],
  ...routes: (readonly [string, string, boolean])[]
): NodeNetwork => ({
  links,
  routes: routes.map(([to, name, hasGateway]) => ({ to: prefix(to), link: name, hasGateway })),
});

test('ranges that overlap: one another, the networks of links, and routes that are as specific', () => {
  const bridge = (...subnets: string[]) =>
    networkOf([{ type: 'bridge', bridge: 'b0', ipam: hostLocal(...subnets) }]);
  assert.deepEqual(overlapsWithin(bridge('10.1.0.0/24', '10.1.0.128/25').ranges), [
    '10.1.0.0/24 and 10.1.0.128/25 overlap',
  ]);
  assert.deepEqual(overlapsWithin(bridge('10.1.0.0/24', '10.1.1.0/24', 'fd00::/64').ranges), []);
  const network = bridge('10.1.0.0/24', 'fd00:1::/64');
  const found = (node: NodeNetwork) => overlapsWithNode(network, node);
  assert.deepEqual(found(nodeOf([link('eth0', '', '10.1.5.2/16')], ['10.1.0.0/16', 'eth0', false])), [
    '10.1.0.0/24 overlaps 10.1.5.2/16 of eth0',
  ]);
  assert.deepEqual(found(nodeOf([link('eth0', '', 'fd00:1::5/128')])), [
    'fd00:1::/64 overlaps fd00:1::5/128 of eth0',
  ]);
  assert.deepEqual(found(nodeOf([link('tun0', 'tun')], ['10.1.0.64/26', 'tun0', true])), [
    '10.1.0.0/24 overlaps the route to 10.1.0.64/26 by tun0',
  ]);
  for (const fine of [
    nodeOf([link('eth0', '', '192.168.0.2/24')], ['0.0.0.0/0', 'eth0', true], ['10.0.0.0/8', 'eth0', true]),
    nodeOf([link('b0', 'bridge', '10.1.0.1/24')], ['10.1.0.0/24', 'b0', false]), // its own
    nodeOf([link('veth1', 'veth')], ['10.1.0.7/32', 'veth1', false]), // ptp
    nodeOf([link('flannel.1', 'vxlan', '10.1.0.0/32')], ['10.1.1.0/24', 'flannel.1', true]),
  ])
    assert.deepEqual(found(fine), []);
  const lan = networkOf([{ type: 'macvlan', master: 'eth0', ipam: hostLocal('10.1.0.0/24') }]);
  assert.deepEqual(overlapsWithNode(lan, nodeOf([link('eth0', '', '10.1.0.2/24')])), []);
});

test('the line of an error in a configuration', () => {
  const error = (text: string): string => {
    try {
      parseNetworkConfig('/n/1.conf', text);
      return assert.fail('it is valid');
    } catch (thrown) {
      return thrown instanceof Error ? thrown.message : '';
    }
  };
  for (const [text, line] of [
    ['{\n "name": "a",\n "plugins": [\n  {"type": "bridge"\n }', 5],
    ['{\n "name": "a",\n "x": tru\n}', 3],
    ['{"name": "a",\n "plugins": [\n  {"type": "x"},\n ]}', 4],
    ['{"name": "a",\n // a comment\n "plugins": []}', 2],
    ['{\n\n "cniVersion": "1.0.0",\n "name": "a b",\n "plugins": [{"type": "x"}]}', 4],
    ['{\n "cniVersion": "7.0.0",\n "name": "a",\n "plugins": [{"type": "x"}]}', 2],
    ['{"name": "a",\n "plugins": [\n {"type": "x"},\n {\n  "type": "../x"}]}', 5],
    ['{"name": "a",\n "plugins": [\n {"type": "x"},\n {}]}', 4],
    ['[]', 1],
  ] as const)
    assert.equal(lineOf(text, error(text)), line, `${text}: ${error(text)}`);
});
