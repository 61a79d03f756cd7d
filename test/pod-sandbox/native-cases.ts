/** Random networks and pods that crisp can make in-process; one seed makes one case, always the same. */
import { isDeepStrictEqual } from 'node:util';
import type { PortMapping } from '#pod-sandbox/index.ts';

export interface NativeCase {
  readonly seed: number;
  readonly conflist: object;
  readonly bridge: string;
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
  const plugins: object[] = [bridgePlugin(random, bridge, families, dataDir)];
  const withPorts = random.chance(60);
  if (withPorts) {
    const snat = random.pick<object>({}, {}, { snat: true }, { snat: false });
    plugins.push({ type: 'portmap', capabilities: { portMappings: random.chance(90) }, ...snat });
  }
  if (random.chance(30)) plugins.splice(random.below(plugins.length + 1), 0, { type: 'loopback' });
  return {
    seed,
    bridge,
    conflist: { cniVersion: random.pick('0.3.1', '0.4.0', '1.0.0', '1.0.0'), name: `net.${seed}`, plugins },
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
    ...random.some(30, { mtu: 1400 }),
    ...(defaultGateway ? { isDefaultGateway: true } : {}),
    ...random.some(10, { isGateway: false, ipMasq: false, hairpinMode: false, promiscMode: false, mtu: 0 }),
    ipam: { type: 'host-local', dataDir, ...addresses, ...routes(random, families, defaultGateway) },
  };
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
