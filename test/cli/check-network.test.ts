/** The network's part of `crisp check` in network namespaces that are made for it: one in order, and one with faults. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import type { NodeDocument } from '../../cli/check/node.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
let directory = '';
before(() => {
  directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/var/tmp', 'check-network-'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

interface Place {
  /** Shell commands in the new network namespace, before the check. */
  readonly setUp: readonly string[];
  /** CNI configurations by their names: texts, or objects. */
  readonly files: Readonly<Record<string, object | string>>;
  /** Lines of the section [cni]. */
  readonly options?: readonly string[];
}

/** `status: found; remedy` by the check's id. */
function checked(name: string, { setUp, files, options = [] }: Place): (id: string) => string {
  const place = join(directory, name);
  mkdirSync(join(place, 'net.d'), { recursive: true });
  mkdirSync(join(place, 'ipam/net'), { recursive: true });
  writeFileSync(join(place, 'ipam/net/10.77.0.9'), `${'ab'.repeat(32)}\r\neth0`);
  for (const [file, content] of Object.entries(files))
    writeFileSync(
      join(place, 'net.d', file),
      typeof content === 'string' ? content : JSON.stringify(content),
    );
  const config = join(place, 'crisp.toml');
  const cni = `[cni]\nconf_dir = "${place}/net.d"\nbin_dirs = ["/usr/lib/cni"]\n${options.join('\n')}`;
  writeFileSync(config, `root = "${place}/root"\nstate = "${place}/state"\n${cni}\n`);
  const script = `set -e; ${setUp.join('; ')}; exec "$@"`;
  const check = [process.execPath, MAIN, 'check', '-c', config, '--output', 'json'];
  const { stdout, stderr } = spawnSync('unshare', ['--net', 'sh', '-c', script, 'sh', ...check], {
    encoding: 'utf8',
  });
  assert.notEqual(stdout, '', stderr);
  const { checks } = JSON.parse(stdout) as NodeDocument;
  return (id) => {
    const { status, found, remedy } = checks.find((one) => one.id === id) ?? assert.fail(`no ${id}`);
    return `${status}: ${found}${remedy === undefined ? '' : `; ${remedy}`}`;
  };
}

const network = (name: string, bridge: object) => ({
  cniVersion: '1.0.0',
  name: 'net',
  plugins: [
    {
      type: 'bridge',
      bridge: 'pods0',
      isGateway: true,
      ipam: {
        type: 'host-local',
        dataDir: join(directory, name, 'ipam'),
        ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd00:77::/64' }]],
      },
      ...bridge,
    },
  ],
});

const UPLINK = [
  'ip link add eth0 type veth peer name far0',
  'ip link set eth0 up',
  'ip link set far0 up',
  'ip addr add 192.0.2.2/24 dev eth0',
  'ip route add default via 192.0.2.1',
];

test('a network in order: no warning', () => {
  const said = checked('order', {
    files: {
      '10-net.conflist': network('order', {
        ipam: { ...network('order', {}).plugins[0]?.ipam, dataDir: '/nowhere' },
      }),
    },
    setUp: [
      'ip link set lo up',
      ...UPLINK,
      'ip link add pods0 type bridge',
      'ip addr add 10.77.0.1/24 dev pods0',
      'ip link set pods0 up',
      'echo 1 > /proc/sys/net/ipv4/ip_forward',
      'echo 1 > /proc/sys/net/ipv6/conf/all/forwarding',
      'iptables -t nat -A POSTROUTING -s 192.0.2.9 -j RETURN',
    ],
  });
  const ids = ['cni', 'cni-files', 'pod-ranges', 'pod-bridge', 'pod-mtu', 'pod-addresses', 'iptables'];
  for (const id of [...ids, 'loopback', 'ip-families', 'ip-forward', 'bridge-nf', 'rp-filter', 'conntrack'])
    assert.match(said(id), /^ok: /, id);
});

test('several networks for a pod: the second is looked at as the first', () => {
  const second = {
    cniVersion: '1.0.0',
    name: 'second',
    plugins: [{ type: 'nothere', ipam: { type: 'host-local', subnet: '10.78.0.0/33' } }],
  };
  const files = { '10-net.conflist': network('several', {}), '20-second.conflist': second };
  const said = checked('several', { files, setUp: UPLINK, options: ['max_networks = 2'] });
  assert.match(
    said('cni'),
    /^failure: network net .*; network second .*not in \S+: nothere.*see the network add-on/,
  );
  assert.match(said('cni-files'), /^ok: 10-net\.conflist is used .*, 20-second\.conflist is used/);
  assert.match(said('pod-ranges'), /^failure: .*20-second\.conflist: subnet "10\.78\.0\.0\/33"/);
});

test('faults of a network: each is found', () => {
  const said = checked('faults', {
    files: {
      '10-net.conflist': network('faults', { mtu: 9000 }),
      '20-broken.conflist': '{\n "name": "other",\n "plugins": [\n',
    },
    setUp: [
      ...UPLINK,
      'ip addr add 10.77.0.200/16 dev eth0',
      'ip link add pods0 type bridge',
      'ip addr add 10.99.0.1/24 dev pods0',
      'ip link set pods0 up',
      'echo 0 > /proc/sys/net/ipv4/ip_forward',
      'echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables',
      'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6',
      'ip link add eth1 type veth peer name far1',
      'ip link set eth1 up; ip link set far1 up',
      'ip addr add 198.51.100.2/24 dev eth1',
      'ip route add default via 198.51.100.1 metric 9',
      'echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter',
      'iptables-nft -t nat -N CNI-HOSTPORT-DNAT; iptables-nft -t nat -A PREROUTING -j CNI-HOSTPORT-DNAT',
      'iptables-legacy -t nat -N DOCKER; iptables-legacy -t nat -A PREROUTING -j DOCKER',
    ],
  });
  for (const [id, wanted] of [
    ['cni-files', /^warning: CNI configuration \S*20-broken\.conflist:3 is not JSON/],
    ['pod-ranges', /^warning: 10\.77\.0\.0\/24 overlaps 10\.77\.0\.200\/16 of eth0/],
    ['pod-bridge', /^failure: pods0 has 10\.99\.0\.1\/24.*the network wants 10\.77\.0\.1\/24/],
    ['pod-mtu', /^warning: 9000, and eth0 has 1500/],
    ['pod-addresses', /^warning: 1 of 1 addresses in \S*\/ipam\/net are of no pod: 10\.77\.0\.9/],
    ['loopback', /^failure: lo is not up/],
    ['ip-families', /^failure: .*disable_ipv6 is 1/],
    ['ip-forward', /^warning: no forwarding of IPv4 and IPv6/],
    ['bridge-nf', /^warning: bridge-nf-call-iptables is 0/],
    ['rp-filter', /^warning: strict on eth0, eth1/],
    [
      'iptables',
      /^warning: .*both forms: 1 in legacy \(of docker\), 1 in nf_tables \(of crisp or CNI plugins\)/,
    ],
  ] as const)
    assert.match(said(id), wanted, id);
});
