/** Chains of the plugins that Debian's containernetworking-plugins has, one for each of them and one of many. */
import { join } from 'node:path';
import type { SandboxConfig } from '#pod-sandbox/index.ts';
import { LAN, SPARE } from './lan.ts';
import type { PodsFixture } from './pods-fixture.ts';

export type Family = 4 | 6;

export const SUBNETS: Readonly<Record<Family, string>> = { 4: '10.251.0.0/24', 6: 'fd00:251::/64' };
export const GATEWAYS: Readonly<Record<Family, string>> = { 4: '10.251.0.1', 6: 'fd00:251::1' };
/** Of the host beside the node. */
export const HOSTS: Readonly<Record<Family, string>> = { 4: '10.251.0.254', 6: 'fd00:251::fe' };
export const LENGTHS: Readonly<Record<Family, number>> = { 4: 24, 6: 64 };
const STATIC: Readonly<Record<Family, string>> = { 4: '10.251.0.77', 6: 'fd00:251::77' };
const ANY: Readonly<Record<Family, string>> = { 4: '0.0.0.0/0', 6: '::/0' };

export const HOST_PORT = 12_377;

export interface Chain {
  readonly name: string;
  plugins(fixture: PodsFixture, families: readonly Family[]): readonly object[];
  /** Whom the pod reaches: the node's own address, or the host on its link. */
  readonly reaches: 'node' | 'host';
  /** A command with `ip` that the kernel refuses where it lacks the kind of link. */
  readonly probe?: readonly string[];
  /** Without others. */
  readonly families?: readonly Family[];
  readonly changes?: Partial<SandboxConfig>;
  /** Words in the node's, or the pod's, state while the pod runs: a command there, and what its output has. */
  readonly shows?: readonly (readonly ['node' | 'pod', string, RegExp])[];
}

const hostLocal = (fixture: PodsFixture, families: readonly Family[]) => ({
  type: 'host-local',
  ranges: families.map((family) => [{ subnet: SUBNETS[family] }]),
  routes: families.map((family) => ({ dst: ANY[family] })),
  dataDir: join(fixture.directory, 'ipam'),
});
const bridge = (fixture: PodsFixture, families: readonly Family[], changes: object = {}) => ({
  type: 'bridge',
  bridge: fixture.bridge,
  isGateway: true,
  ipMasq: true,
  hairpinMode: true,
  ipam: hostLocal(fixture, families),
  ...changes,
});
const withBridge =
  (...more: readonly object[]): Chain['plugins'] =>
  (fixture, families) => [bridge(fixture, families), ...more];
const onLan =
  (type: string, changes: object = {}): Chain['plugins'] =>
  (fixture, families) => [{ type, master: LAN, ipam: hostLocal(fixture, families), ...changes }];

const portmap = { type: 'portmap', capabilities: { portMappings: true } };
const bandwidth = { type: 'bandwidth', capabilities: { bandwidth: true } };
const firewall = { type: 'firewall', backend: 'iptables' };
const tuning = { type: 'tuning', sysctl: { 'net.core.somaxconn': '499' }, mtu: 1400 };
const published: Partial<SandboxConfig> = {
  portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort: HOST_PORT, hostIp: '' }],
};
const limited: Partial<SandboxConfig> = {
  annotations: { 'kubernetes.io/ingress-bandwidth': '10M', 'kubernetes.io/egress-bandwidth': '20M' },
};
const tuned = [
  'pod',
  'cat /proc/sys/net/core/somaxconn; ip link show eth0',
  /^499\n[\s\S]*mtu 1400/,
] as const;
const shaped = ['node', 'tc qdisc show', /qdisc tbf[^\n]*\n[\s\S]*qdisc ingress/] as const;
const forwarded = [
  'node',
  'iptables-save -t nat; ip6tables-save -t nat',
  new RegExp(`${HOST_PORT}`),
] as const;

export const chains: readonly Chain[] = [
  { name: 'bridge', plugins: withBridge(), reaches: 'node' },
  { name: 'bridge, loopback', plugins: withBridge({ type: 'loopback' }), reaches: 'node' },
  {
    name: 'bridge, portmap',
    plugins: withBridge(portmap),
    reaches: 'node',
    changes: published,
    shows: [forwarded],
  },
  {
    name: 'bridge, bandwidth',
    plugins: withBridge(bandwidth),
    reaches: 'node',
    changes: limited,
    shows: [shaped],
  },
  { name: 'bridge, tuning', plugins: withBridge(tuning), reaches: 'node', shows: [tuned] },
  {
    name: 'bridge, firewall',
    plugins: withBridge(firewall),
    reaches: 'node',
    shows: [
      ['node', 'iptables-save -t filter; ip6tables-save -t filter', /CNI-FORWARD -[ds] (10\.251|fd00)/],
    ],
  },
  {
    name: 'bridge, sbr',
    plugins: withBridge({ type: 'sbr' }),
    reaches: 'node',
    shows: [['pod', 'ip rule; ip -6 rule', /from (10\.251|fd00)\S* lookup/]],
  },
  {
    name: 'bridge, vrf',
    plugins: withBridge({ type: 'vrf', vrfname: 'blue' }),
    reaches: 'node',
    probe: ['link', 'add', 'probe0', 'type', 'vrf', 'table', '77'],
  },
  {
    name: 'bridge with static addresses',
    plugins: (fixture, families) => {
      const addresses = families.map((family) => ({
        address: `${STATIC[family]}/${LENGTHS[family]}`,
        gateway: GATEWAYS[family],
      }));
      return [bridge(fixture, families, { ipam: { type: 'static', addresses } })];
    },
    reaches: 'node',
  },
  {
    name: 'ptp',
    plugins: (fixture, families) => [{ type: 'ptp', ipMasq: true, ipam: hostLocal(fixture, families) }],
    reaches: 'node',
  },
  { name: 'macvlan', plugins: onLan('macvlan'), reaches: 'host' },
  {
    name: 'macvlan with addresses by dhcp',
    plugins: (fixture) => [
      {
        type: 'macvlan',
        master: LAN,
        ipam: { type: 'dhcp', daemonSocketPath: join(fixture.directory, 'dhcp.sock') },
      },
    ],
    reaches: 'host',
    families: [4],
  },
  {
    name: 'ipvlan',
    plugins: onLan('ipvlan'),
    reaches: 'host',
    probe: ['link', 'add', 'link', LAN, 'name', 'probe0', 'type', 'ipvlan'],
  },
  {
    name: 'vlan',
    plugins: onLan('vlan', { vlanId: 7 }),
    reaches: 'host',
    probe: ['link', 'add', 'link', LAN, 'name', 'probe0', 'type', 'vlan', 'id', '7'],
  },
  {
    name: 'host-device',
    plugins: (fixture, families) => [
      { type: 'host-device', device: SPARE, ipam: hostLocal(fixture, families) },
    ],
    reaches: 'host',
  },
  {
    name: 'loopback, bridge, tuning, bandwidth, firewall, sbr, portmap',
    plugins: (fixture, families) => [
      { type: 'loopback' },
      ...withBridge(tuning, bandwidth, firewall, { type: 'sbr' }, portmap)(fixture, families),
    ],
    reaches: 'node',
    changes: { ...published, ...limited },
    shows: [tuned, shaped, forwarded],
  },
];
