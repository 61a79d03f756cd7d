/** Random networks and pods that crisp can make in-process; one seed makes one case, always the same. */
import { isDeepStrictEqual } from 'node:util';
import type { PortMapping } from '#pod-sandbox/index.ts';

export interface NativeCase {
  readonly seed: number;
  readonly conflist: object;
  readonly bridge: string;
  /** The file of flannel's daemon. */
  readonly subnetEnv: string | undefined;
  /** Of each pod. */
  readonly annotations: Readonly<Record<string, string>>;
  /** The published ports of each pod. */
  readonly pods: readonly (readonly PortMapping[])[];
}

class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed * 0x9e3779b1;
  }

  /** From 0 up to, but not including, the bound (mulberry32). */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(...choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** The fields, each with this chance. */
  some(percent: number, fields: object): object {
    return Object.fromEntries(Object.entries(fields).filter(() => this.chance(percent)));
  }
}

export function nativeCase(seed: number, dataDir: string): NativeCase {
  const random = new Random(seed);
  const families = random.pick<readonly (4 | 6)[]>([4], [4], [6], [4, 6], [6, 4]);
  const bridge = `n${seed}`;
  const kind = random.pick('bridge', 'bridge', 'ptp', 'ptp', 'flannel', 'flannel');
  const flannel = kind === 'flannel' ? flannelCase(random, bridge, families, dataDir) : undefined;
  const plugins: object[] = [
    flannel?.plugin ??
      (kind === 'ptp'
        ? ptpPlugin(random, families, dataDir)
        : bridgePlugin(random, bridge, families, dataDir)),
  ];
  const withPorts = random.chance(60);
  if (withPorts) {
    const snat = random.pick<object>({}, {}, { snat: true }, { snat: false });
    plugins.push({ type: 'portmap', capabilities: { portMappings: random.chance(90) }, ...snat });
  }
  const cniVersion = random.pick('0.3.1', '0.4.0', '1.0.0', '1.0.0');
  const filtered = cniVersion !== '0.3.1' && random.chance(45);
  if (filtered) plugins.push(firewallPlugin(random, kind));
  if (random.chance(30)) plugins.splice(random.below(plugins.length + 1), 0, { type: 'loopback' });
  const limited = random.chance(35);
  if (limited) plugins.push(bandwidthPlugin(random));
  const tuned = random.chance(40);
  if (tuned) plugins.push(tuningPlugin(random, dataDir));
  const executable = { tuning: !tuned, bandwidth: !limited, firewall: !filtered && cniVersion !== '0.3.1' };
  if (random.chance(25)) plugins.push(...executedPlugin(random, dataDir, executable));
  return {
    seed,
    bridge,
    subnetEnv: flannel?.subnetEnv,
    annotations: random.some(70, {
      'kubernetes.io/ingress-bandwidth': random.pick('10M', '1k', '7500', '40G', '1P'),
      'kubernetes.io/egress-bandwidth': random.pick('1M', '100M', '123457', '64G'),
    }) as Readonly<Record<string, string>>,
    conflist: { cniVersion, name: `net.${seed}`, plugins },
    pods: Array.from({ length: random.pick(1, 1, 2, 3) }, () => (withPorts ? ports(random) : [])),
  };
}

function bridgePlugin(random: Random, bridge: string, families: readonly (4 | 6)[], dataDir: string): object {
  const ranges = families.map((family) => (family === 4 ? range4(random) : range6(random)));
  const [only] = ranges;
  const addresses = ranges.length === 1 && random.chance(40) ? only : { ranges: ranges.map((one) => [one]) };
  const defaultGateway = random.chance(30);
  return {
    type: 'bridge',
    bridge,
    ...random.some(50, { isGateway: true, ipMasq: true, hairpinMode: true }),
    ...random.some(30, { mtu: 1400, forceAddress: true }),
    ...(defaultGateway ? { isDefaultGateway: true } : {}),
    ...random.some(10, { isGateway: false, ipMasq: false, hairpinMode: false, promiscMode: false, mtu: 0 }),
    ipam: { type: 'host-local', dataDir, ...addresses, ...routes(random, families, defaultGateway) },
  };
}

function ptpPlugin(random: Random, families: readonly (4 | 6)[], dataDir: string): object {
  const ranges = families.map((family) => [family === 4 ? range4(random) : range6(random)]);
  return {
    type: 'ptp',
    ...random.some(50, { ipMasq: true, mtu: 1400 }),
    ...random.some(20, { ipMasq: false, mtu: 0 }),
    ipam: { type: 'host-local', dataDir, ranges, ...routes(random, families, false) },
  };
}

/** Where flannel's daemon has written the subnet. */
export const subnetFile = (dataDir: string): string => `${dataDir}.subnet.env`;

function flannelCase(
  random: Random,
  bridge: string,
  families: readonly (4 | 6)[],
  dataDir: string,
): { readonly plugin: object; readonly subnetEnv: string } {
  const defaultGateway = random.chance(60);
  const delegate = {
    bridge,
    ...(defaultGateway ? { isDefaultGateway: true } : {}),
    ...random.some(50, { hairpinMode: true, forceAddress: true }),
    ...random.some(15, { ipMasq: true, mtu: 1380, isGateway: false, type: 'bridge' }),
  };
  const lines = [
    ...(families.includes(4)
      ? [
          `FLANNEL_NETWORK=${random.pick('10.77.0.0/16', '10.77.0.0/16,10.78.0.0/16')}`,
          'FLANNEL_SUBNET=10.77.9.1/24',
        ]
      : []),
    ...(families.includes(6)
      ? ['FLANNEL_IPV6_NETWORK=fd00:77::/48', 'FLANNEL_IPV6_SUBNET=fd00:77::1/64']
      : []),
    `FLANNEL_MTU=${random.pick(1450, 1370)}`,
    `FLANNEL_IPMASQ=${random.pick('true', 'true', 'false')}`,
  ];
  const plugin = {
    type: 'flannel',
    subnetFile: subnetFile(dataDir),
    dataDir: `${dataDir}/flannel`,
    delegate,
    ipam: { dataDir, ...random.pick<object>({}, {}, routes(random, families, defaultGateway)) },
  };
  return { plugin, subnetEnv: `${lines.join('\n')}\n` };
}

function bandwidthPlugin(random: Random): object {
  const ingress = { ingressRate: 8 + random.below(1e9), ingressBurst: 8 + random.below(1e9) };
  const egress = { egressRate: 8e3 + random.below(1e9), egressBurst: 8 + random.below(1e9) };
  return {
    type: 'bandwidth',
    capabilities: { bandwidth: true },
    ...random.pick<object>({}, {}, {}, ingress, egress, { ...ingress, ...egress }),
  };
}

/** MAC addresses that pods are given; all others are random. */
export const GIVEN_MAC = /^(?:02:00:00:77:00:01|0a:bc:00:00:00:02)$/i;

function tuningPlugin(random: Random, dataDir: string): object {
  const settings = () =>
    random.some(40, {
      mac: random.pick('', '02:00:00:77:00:01', '0A:bc:00:00:00:02'),
      mtu: random.pick(0, 1280, 1333),
      promisc: random.chance(50),
      allmulti: random.chance(50),
    });
  const sysctl = () =>
    random.some(40, {
      'net.ipv4.conf.IFNAME.rp_filter': random.pick('0', '2'),
      'net.ipv4.conf.eth0.arp_notify': '0',
      'net.ipv6.conf.IFNAME.accept_ra': '2',
      'net.ipv4.ip_local_port_range': random.pick('20000 30000', '1025\t65000'),
      'net.core.somaxconn': '600',
      'net.ipv4.route.flush': '1',
    });
  const args = random.pick<object>({}, {}, { args: { cni: {} } }, { args: { cni: settings() } });
  const both = { sysctl: sysctl(), args: { cni: { sysctl: sysctl(), ...settings() } } };
  return {
    type: 'tuning',
    dataDir: `${dataDir}/tuning`,
    ...settings(),
    ...random.pick<object>(args, { sysctl: sysctl(), ...args }, both),
    ...random.some(20, { capabilities: { mac: true } }),
  };
}

function firewallPlugin(random: Random, kind: string): object {
  const policies = kind === 'ptp' ? ['open', ''] : ['same-bridge', 'same-bridge', 'open', ''];
  return {
    type: 'firewall',
    ...random.pick<object>({ backend: 'iptables' }, { backend: 'iptables' }, { backend: '' }, {}),
    ...random.some(60, { ingressPolicy: random.pick(...policies) }),
    ...random.some(30, { iptablesAdminChainName: random.pick('', 'SITE-ADMIN', 'CNI-ADMIN') }),
    ...random.some(15, { firewalldZone: 'public' }),
  };
}

/** One of these that crisp leaves to its program: it has a key that crisp does not know. */
function executedPlugin(
  random: Random,
  dataDir: string,
  possible: { readonly tuning: boolean; readonly bandwidth: boolean; readonly firewall: boolean },
): object[] {
  const sysctl = { 'net.ipv4.conf.IFNAME.rp_filter': '2' };
  const limits = { ingressRate: 8e6, ingressBurst: 8e5, egressRate: 16e6, egressBurst: 9e5 };
  const choices = [
    ...(possible.tuning ? [{ type: 'tuning', sysctl, mtu: 1320, dataDir: `${dataDir}/tuning` }] : []),
    ...(possible.firewall ? [{ type: 'firewall', backend: 'iptables' }] : []),
    ...(possible.bandwidth ? [{ type: 'bandwidth', ...limits }] : []),
  ];
  return choices.length > 0 ? [{ ...random.pick<object>(...choices), description: 'not for crisp' }] : [];
}

function range4(random: Random): object {
  const [subnet, prefix] = random.pick<[string, string]>(
    ['10.77.5.0/24', '10.77.5.'],
    ['10.77.0.0/16', '10.77.5.'],
    ['192.168.77.16/28', '192.168.77.'],
  );
  return {
    subnet,
    ...random.some(30, { rangeStart: `${prefix}20`, rangeEnd: `${prefix}29`, gateway: `${prefix}21` }),
  };
}

function range6(random: Random): object {
  const [subnet, prefix] = random.pick<[string, string]>(
    ['fd00:77::/64', 'fd00:77::'],
    ['FD00:77:0:0::/112', 'fd00:77:0::'],
  );
  return {
    subnet,
    ...random.some(30, { rangeStart: `${prefix}a0`, rangeEnd: `${prefix}af`, gateway: `${prefix}fe` }),
  };
}

/** With a default gateway no other default route: the plugin fails at it. */
function routes(random: Random, families: readonly (4 | 6)[], defaultGateway: boolean): object {
  const all = families.flatMap((family) =>
    family === 4
      ? [{ dst: '0.0.0.0/0' }, { dst: '172.16.0.0/12' }, { dst: '198.51.100.0/24' }]
      : [{ dst: '::/0' }, { dst: '2001:DB8::/32' }],
  );
  const chosen = all.filter(({ dst }) => !(defaultGateway && dst.endsWith('/0')) && random.chance(50));
  return chosen.length > 0 ? { routes: chosen } : {};
}

function ports(random: Random): PortMapping[] {
  const count = random.pick(0, 1, 2, 4, random.chance(15) ? 20 : 3);
  const list = Array.from({ length: count }, () => ({
    protocol: random.pick<PortMapping['protocol']>('tcp', 'tcp', 'udp', 'sctp'),
    hostPort: 1 + random.below(65_535),
    containerPort: 1 + random.below(65_535),
    hostIp: random.pick('', '', '', '127.0.0.1', '0.0.0.0', '192.0.2.7', '::', 'fd00::7', '::1'),
  }));
  const again = list[0];
  // One port on two addresses, and on the same twice.
  if (again && random.chance(30))
    list.push({ ...again, hostIp: '192.0.2.8' }, { ...again, hostIp: '0.0.0.0' });
  return list.filter((one, at) => list.findIndex((other) => isDeepStrictEqual(one, other)) === at);
}
