/** Pods' rules in nf_tables, in the form of the CNI plugins' back end nftables. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import test, { after, before, beforeEach } from 'node:test';
import { openKernel } from '#linux/index.ts';
import type { Kernel, NatTables, PodNat } from '#linux/ports/kernel.ts';

let kernel: Kernel;
let tables: NatTables;
before(async () => {
  kernel = await openKernel();
  ({ tables } = kernel.nat);
});
after(() => kernel.close());
beforeEach(() => void execFileSync('nft', ['flush', 'ruleset']));

const ID = 'a1'.repeat(32);
const pod = (changes: Partial<PodNat> = {}): PodNat => ({
  network: 'test',
  id: ID,
  interfaceName: 'eth0',
  family: 4,
  address: '10.66.1.9',
  prefixLength: 24,
  masquerade: true,
  ports: [],
  snat: true,
  ...changes,
});
const pod6 = (changes: Partial<PodNat> = {}) =>
  pod({ family: 6, address: 'fd00:66::9', prefixLength: 64, ...changes });
const PORTS: PodNat['ports'] = [
  { hostPort: 8080, containerPort: 80, protocol: 'tcp' },
  { hostPort: 8080, containerPort: 53, protocol: 'udp', hostIP: '0.0.0.0' },
  { hostPort: 9999, containerPort: 99, protocol: 'sctp', hostIP: '192.0.2.7' },
  { hostPort: 8081, containerPort: 81, protocol: 'tcp', hostIP: 'fd00::7' },
  { hostPort: 8082, containerPort: 82, protocol: 'udp', hostIP: '::' },
];

const nft = (input: string): string => execFileSync('nft', ['-f', '-'], { input, encoding: 'utf8' });
const ruleset = (): string => execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });
const ofPods = (): number => ruleset().match(/comment ".*[0-9a-f]{16}/g)?.length ?? 0;

/** What the plugin portmap of containernetworking/plugins 1.9 gives to nft, with the rules for neighbours in between. */
const HOST_PORTS = (ip: string, rules: readonly string[], masquerading: readonly string[]) => `
add table ${ip} cni_hostport { comment "CNI portmap plugin" ; }
add chain ${ip} cni_hostport hostports
add chain ${ip} cni_hostport hostip_hostports
add chain ${ip} cni_hostport hostports_all
add rule ${ip} cni_hostport hostports_all jump hostip_hostports
add rule ${ip} cni_hostport hostports_all jump hostports
add chain ${ip} cni_hostport prerouting { type nat hook prerouting priority -100 ; }
add rule ${ip} cni_hostport prerouting fib daddr type local jump hostports_all
add chain ${ip} cni_hostport output { type nat hook output priority -100 ; }
add rule ${ip} cni_hostport output fib daddr type local jump hostports_all
${masquerading.length > 0 ? `add chain ${ip} cni_hostport masquerading { type nat hook postrouting priority 100 ; }` : ''}
${rules.map((rule) => `add rule ${ip} cni_hostport hostports ${rule} comment "${ID}"`).join('\n')}
${masquerading.map((rule) => `add rule ${ip} cni_hostport masquerading ${rule} comment "${ID}"`).join('\n')}
`;
/** The same of the plugin bridge; the hashes as it has computed them. */
const MASQUERADE = (rule: string) => `
add table inet cni_plugins_masquerade { comment "Masquerading for plugins from github.com/containernetworking/plugins" ; }
add chain inet cni_plugins_masquerade masq_checks { comment "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet" ; }
add chain inet cni_plugins_masquerade postrouting { type nat hook postrouting priority 100 ; }
add rule inet cni_plugins_masquerade postrouting ip daddr == 224.0.0.0/4 return
add rule inet cni_plugins_masquerade postrouting ip6 daddr == ff00::/8 return
add rule inet cni_plugins_masquerade postrouting goto masq_checks
add rule inet cni_plugins_masquerade masq_checks ${rule} masquerade comment "ee26b0dd4af7e749-21ee4c249c1df70f, net: test, if: eth0, id: ${ID}"
`;

for (const [what, wanted, script] of [
  [
    'host ports of IPv4',
    pod({ masquerade: false, ports: PORTS }),
    HOST_PORTS(
      'ip',
      [
        'ip saddr 10.66.1.0/24 tcp dport 8080 meta mark set meta mark or 0x2000',
        'tcp dport 8080 dnat to 10.66.1.9:80',
        'ip saddr 10.66.1.0/24 udp dport 8080 meta mark set meta mark or 0x2000',
        'udp dport 8080 dnat to 10.66.1.9:53',
        'ip saddr 10.66.1.0/24 ip daddr 192.0.2.7 sctp dport 9999 meta mark set meta mark or 0x2000',
        'ip daddr 192.0.2.7 sctp dport 9999 dnat to 10.66.1.9:99',
      ],
      [
        'ip saddr 10.66.1.9 ip daddr 10.66.1.9 masquerade',
        'ip saddr 127.0.0.1 ip daddr 10.66.1.9 masquerade',
        'meta mark & 0x2000 == 0x2000 ip daddr 10.66.1.9 masquerade',
      ],
    ),
  ],
  [
    'host ports of IPv6 without SNAT',
    pod6({ masquerade: false, ports: PORTS, snat: false }),
    HOST_PORTS(
      'ip6',
      [
        'tcp dport 8080 dnat to [fd00:66::9]:80',
        'ip6 daddr fd00::7 tcp dport 8081 dnat to [fd00:66::9]:81',
        'udp dport 8082 dnat to [fd00:66::9]:82',
      ],
      [],
    ),
  ],
  ['masquerade of IPv4', pod(), MASQUERADE('ip saddr == 10.66.1.9 ip daddr != 10.66.1.0/24')],
  [
    'masquerade of IPv4, bits within a byte',
    pod({ prefixLength: 21 }),
    MASQUERADE('ip saddr == 10.66.1.9 ip daddr != 10.66.0.0/21'),
  ],
  ['masquerade of IPv6', pod6(), MASQUERADE('ip6 saddr == fd00:66::9 ip6 daddr != fd00:66::/64')],
] as const) {
  test(`${what}: as the plugins write it with nft`, async () => {
    await tables.check({
      family: wanted.family,
      masquerade: wanted.masquerade,
      ports: wanted.ports.length > 0,
    });
    assert.equal(ruleset(), '', 'a check leaves nothing');
    nft(script);
    const theirs = ruleset();
    await tables.erase(wanted);
    assert.equal(ofPods(), 0, 'crisp removes what they have made');
    execFileSync('nft', ['flush', 'ruleset']);
    await tables.write(wanted);
    assert.equal(ruleset(), theirs);
    nft(script.replaceAll(/^add rule .* comment .*$/gm, ''));
    await tables.write(wanted);
    assert.equal(
      ofPods(),
      theirs.match(/comment ".*[0-9a-f]{16}/g)?.length,
      'a repeated write changes nothing',
    );
    assert.equal(await tables.erase(wanted), true);
    assert.equal(await tables.erase(wanted), false);
    assert.equal(ofPods(), 0);
  });
}

test('both families of a pod, two of its networks, and another pod: each keeps its own', async () => {
  const ports = PORTS.slice(0, 1);
  const other = 'b2'.repeat(32);
  await tables.write(pod({ ports }));
  const one = ofPods();
  await tables.write(pod6({ ports }));
  const both = ofPods();
  assert.ok(both > one);
  await tables.write(pod({ id: other, address: '10.66.1.10', ports }));
  await tables.write(pod({ network: 'second', interfaceName: 'net1', address: '10.67.1.10', ports }));
  assert.equal(ofPods(), both + 2 * one);
  await tables.write(pod({ ports }));
  assert.equal(ofPods(), both + 2 * one);
  await tables.erase(pod());
  assert.equal(ofPods(), 2 * one);
  await tables.erase(pod({ network: 'second', interfaceName: 'net1' }));
  assert.equal(ofPods(), one);
  await tables.erase(pod({ id: other }));
  assert.equal(ofPods(), 0);
});

test('many at once, while another program changes nf_tables again and again', async () => {
  const script = 'while :; do nft "add table ip churn ; delete table ip churn"; sleep 0.01; done';
  const churn = spawn('sh', ['-c', script], { stdio: 'ignore' });
  try {
    const ids = Array.from({ length: 30 }, (_, n) => n.toString(16).padStart(64, '0'));
    const of = (id: string, n: number) => pod({ id, address: `10.66.1.${n + 1}`, ports: PORTS });
    await Promise.all(ids.map((id, n) => tables.write(of(id, n))));
    assert.equal(ofPods(), 30 * 10);
    assert.ok((await Promise.all(ids.map((id, n) => tables.erase(of(id, n))))).every(Boolean));
    assert.equal(ofPods(), 0);
  } finally {
    churn.kill('SIGKILL');
    await once(churn, 'exit');
  }
});

test('one pod may have hundreds of ports', async () => {
  const ports = Array.from({ length: 200 }, (_, n) => ({
    hostPort: 20_000 + n,
    containerPort: n + 1,
    protocol: 'tcp' as const,
  }));
  await tables.write(pod({ ports }));
  assert.equal(ofPods(), 404);
  assert.equal(await tables.erase(pod()), true);
  assert.equal(ofPods(), 0);
});
