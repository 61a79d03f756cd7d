/** The network's checks on nodes that are described; test/cli/check-network.test.ts has real ones. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { NetworkFile } from '#daemon/preflight/network-files.ts';
import { parsePrefix, podNetworkOf } from '#daemon/preflight/pod-network.ts';
import { networkChecks } from './network.ts';

interface Facts {
  /** Texts by path; in directories of these, names. */
  readonly files?: Readonly<Record<string, string>>;
  readonly plugins?: readonly object[];
  readonly network?: Readonly<Record<string, unknown>>;
  readonly configurations?: readonly NetworkFile[];
  readonly pinned?: string;
  readonly maxNetworks?: number;
  readonly native?: 'auto' | 'exec';
  /** `name kind mtu address…` */
  readonly links?: readonly string[];
  /** `network link gateway?` */
  readonly routes?: readonly string[];
  readonly running?: readonly string[];
  /** Outputs of programs; of iptables its version. */
  readonly programs?: Readonly<Record<string, string>>;
  readonly nfTables?: boolean;
  readonly addresses?: readonly (readonly [string, string])[];
  readonly pods?: readonly string[];
}

const IP_FORWARD = { '/proc/sys/net/ipv4/ip_forward': '1', '/proc/sys/net/ipv6/conf/all/forwarding': '1' };
const NFT = 'iptables v1.8.9 (nf_tables)';
const bridge = (changes: object = {}, ...subnets: string[]) => ({
  type: 'bridge',
  bridge: 'b0',
  isGateway: true,
  ...changes,
  ipam: { type: 'host-local', ranges: subnets.map((subnet) => [{ subnet }]) },
});

function nodeWith(facts: Facts) {
  const { files = {}, plugins, links = ['lo - 65536 127.0.0.1/8'], routes = [], programs = {} } = facts;
  const config = plugins && {
    name: 'net',
    cniVersion: '1.0.0' as const,
    source: '/n/10.conflist',
    plugins: plugins as { type: string }[],
  };
  const prefix = (text: string) => parsePrefix(text) ?? assert.fail(text);
  const noNetwork = () => assert.fail('no network');
  const text = (path: string) => files[path];
  return {
    config: {
      cni: {
        confDir: '/n',
        binDirs: ['/p'],
        network: facts.pinned ?? '',
        maxNetworks: facts.maxNetworks ?? 1,
        native: facts.native ?? 'auto',
      },
    },
    text,
    exists: (path: string) => Object.keys(files).some((name) => name === path || name.startsWith(`${path}/`)),
    entries: (directory: string) =>
      Object.keys(files)
        .filter((path) => path.startsWith(`${directory}/`))
        .map((path) => path.slice(directory.length + 1))
        .sort(),
    networks: async () => [config ?? noNetwork()],
    podNetworks: async () => (config ? [podNetworkOf(config, text)] : []),
    podNetwork: async () => config && podNetworkOf(config, text),
    makesItself: () => facts.native !== 'exec',
    networkFiles: async () => facts.configurations ?? [],
    nodeNetwork: () => ({
      links: links.map((line) => {
        const [name = '', kind = '', mtu, ...addresses] = line.split(' ');
        const up = kind !== 'down';
        return {
          name,
          kind: kind === '-' ? '' : kind,
          mtu: Number(mtu),
          up,
          addresses: addresses.map(prefix),
        };
      }),
      routes: routes.map((line) => {
        const [to = '', link, gateway] = line.split(' ');
        return { to: prefix(to), link, hasGateway: gateway !== undefined };
      }),
    }),
    hasNfTables: facts.nfTables ?? true,
    addressFiles: () => (facts.addresses ?? []).map(([address, owner]) => ({ address, owner })),
    podIds: () => new Set(facts.pods),
    commandLines: (name: string) => (facts.running?.includes(name) ? [{ pid: 1, argv: [name] }] : []),
    program: async (name: string) => {
      const version = programs[name] ?? (await Promise.reject(new Error(`program ${name} is not in /sbin`)));
      return { path: `/sbin/${name}`, version };
    },
    output: async (name: string) => programs[name],
  };
}

/** `status: found; remedy`. */
async function said(id: string, facts: Facts): Promise<string> {
  const check = networkChecks.find((one) => one.id === id) ?? assert.fail(`no check ${id}`);
  const {
    status,
    found,
    remedy = '',
  } = await check.run(nodeWith(facts) as never, new AbortController().signal);
  assert.equal(remedy === '', status === 'ok', found);
  return `${status}: ${found}${remedy === '' ? '' : `; ${remedy}`}`;
}

/** Each with what is found; of the first kind all are ok. */
async function are(id: string, cases: readonly (readonly [Facts, RegExp])[]): Promise<void> {
  for (const [facts, wanted] of cases) assert.match(await said(id, facts), wanted);
}

test('plugins that are missing, by the package or the add-on that has them; what they delegate to', async () => {
  const bin = (...types: string[]) =>
    Object.fromEntries(types.map((type) => [`/p/${type}`, ''])) as Record<string, string>;
  const debian = { '/etc/os-release': 'ID=debian' };
  const plugins = [bridge({}, '10.1.0.0/24'), { type: 'portmap' }];
  await are('cni', [
    [
      { plugins, files: bin('bridge', 'host-local', 'portmap') },
      /^ok: network net .*bridge host-local portmap$/,
    ],
    [
      { plugins, files: { ...debian, ...bin('portmap') } },
      /^warning: .*not in \/p: bridge host-local \(crisp makes this network itself\); apt-get install containernetworking-plugins; /,
    ],
    [{ plugins, native: 'exec', files: bin('bridge') }, /^failure: .*: host-local portmap; install /],
    [
      { plugins: [{ type: 'flannel' }], native: 'exec', files: { ...debian, ...bin('host-local') } },
      /^failure: .*: flannel bridge; apt-get .*; flannel: see the network add-on/,
    ],
    [
      { plugins: [{ type: 'calico', ipam: { type: 'calico-ipam' } }], native: 'exec', files: bin('calico') },
      /: calico-ipam; calico-ipam: see the network add-on/,
    ],
    [
      { plugins: [{ type: 'flannel' }], files: bin('flannel', 'bridge', 'host-local') },
      /^warning: .*subnet\.env is not there: flanneld has not written it/,
    ],
  ]);
});

test('files beside the one that is used: broken, of the same name, or of no effect', async () => {
  const file = (path: string, name: string): NetworkFile => ({
    path: `/n/${path}`,
    config: { name, cniVersion: '1.0.0', source: `/n/${path}`, plugins: [{ type: 'bridge' }] },
  });
  const broken = { path: '/n/20.conf', error: 'CNI configuration /n/20.conf is not JSON', line: 7 };
  const [a, b] = [file('10.conflist', 'a'), file('20.conflist', 'b')];
  await are('cni-files', [
    [{}, /^ok: /],
    [{ configurations: [a] }, /^ok: 10\.conflist is used \(network a\)$/],
    [{ configurations: [a, broken] }, /^warning: CNI configuration \/n\/20\.conf:7 is not JSON; correct/],
    [
      { configurations: [a, b] },
      /^warning: 10\.conflist is used .*not used: 20\.conflist \(network b\).*cni\.network = "a"/,
    ],
    [{ configurations: [a, b], pinned: 'b' }, /^ok: 20\.conflist is used/],
    [{ configurations: [a, b], maxNetworks: 0 }, /^ok: 10\.conflist is used .*, 20\.conflist is used/],
    [
      { configurations: [a, file('99.conflist', 'a')] },
      /^warning: 10\.conflist is used \(network a\); 99\.conflist has a network of the same name/,
    ],
  ]);
});

test('ranges, and the bridge of an earlier one', async () => {
  const plugins = [bridge({}, '10.1.0.0/24')];
  await are('pod-ranges', [
    [{}, /^ok: no pod network yet/],
    [{ plugins }, /^ok: 10\.1\.0\.0\/24$/],
    [{ plugins: [bridge({}, '10.1.0.0/244')] }, /^failure: \/n\/10\.conflist: subnet "10\.1\.0\.0\/244"/],
    [{ plugins: [bridge({}, '10.1.0.0/24', '10.1.0.0/25')] }, /^failure: .*overlap; give each/],
    [
      { plugins, links: ['eth0 - 1500 10.1.0.7/16'] },
      /^warning: 10\.1\.0\.0\/24 overlaps 10\.1\.0\.7\/16 of eth0/,
    ],
  ]);
  await are('pod-bridge', [
    [{ plugins: [{ type: 'ptp' }] }, /^ok: the network has none/],
    [{ plugins }, /^ok: b0 is made/],
    [{ plugins, links: ['b0 bridge 1500 10.1.0.1/24 fe80::1/64'] }, /^ok: b0 has/],
    [
      { plugins, links: ['b0 bridge 1500 10.9.0.1/24'] },
      /^failure: b0 has 10\.9\.0\.1\/24, and the network wants 10\.1\.0\.1\/24.*ip link delete b0/,
    ],
    [
      { plugins: [bridge({}, '10.1.0.0/24', 'fd00::/64')], links: ['b0 bridge 1500 10.1.0.1/24 fe80::1/64'] },
      /^ok/,
    ],
    [
      { plugins: [bridge({ isGateway: false }, '10.1.0.0/24')], links: ['b0 bridge 1500 10.9.0.1/24'] },
      /^ok/,
    ],
    [{ plugins, links: ['b0 vlan 1500'] }, /^failure: b0 is a link of kind vlan/],
  ]);
});

test('packets larger than those of the node; addresses of no pod, and a range that is used up', async () => {
  const plugins = (mtu?: number) => [bridge(mtu === undefined ? {} : { mtu }, '10.1.0.0/28')];
  const way = { links: ['eth0 - 1450', 'b0 bridge 1500'], routes: ['0.0.0.0/0 eth0 gw'] };
  await are('pod-mtu', [
    [{ plugins: plugins() }, /^ok: the kernel's/],
    [{ plugins: plugins(1400), ...way }, /^ok: 1400/],
    [
      { plugins: plugins(9000), ...way },
      /^warning: 9000, and eth0 has 1450.*set mtu in \/n\/10\.conflist to 1450/,
    ],
    [{ plugins: plugins(), ...way }, /^warning: 1500, and eth0 has 1450/],
  ]);
  const many = Array.from({ length: 13 }, (_, n) => [`10.1.0.${n + 2}`, 'a'] as const);
  await are('pod-addresses', [
    [{ plugins: [{ type: 'ptp' }] }, /^ok: not those/],
    [
      { plugins: plugins(), addresses: [['10.1.0.2', 'a']], pods: ['a'] },
      /^ok: 1 in use \(\/var\/lib\/cni\/networks\/net\)/,
    ],
    [
      {
        plugins: plugins(),
        addresses: [
          ['10.1.0.2', 'a'],
          ['10.1.0.3', 'b'],
        ],
        pods: ['a'],
      },
      /^warning: 1 of 2 addresses in .* are of no pod: 10\.1\.0\.3; wait for the second round/,
    ],
    [
      { plugins: plugins(), addresses: many, pods: ['a'] },
      /^warning: 13 in use .*10\.1\.0\.0\/28 is nearly used up/,
    ],
  ]);
});

test('forwarding, of all links and of single ones, by the families in use', async () => {
  const plugins = [bridge({}, '10.1.0.0/24')];
  const dual = [bridge({}, '10.1.0.0/24', 'fd00::/64')];
  const v4 = { '/proc/sys/net/ipv4/ip_forward': '1' };
  const way = { links: ['eth0 - 1500'], routes: ['0.0.0.0/0 eth0 gw'] };
  await are('ip-forward', [
    [{ plugins, files: v4 }, /^ok: on for IPv4$/],
    [{ plugins }, /^warning: no forwarding of IPv4:.*net\.ipv4\.ip_forward=1,/],
    [{ plugins: dual, files: IP_FORWARD }, /^ok: on for IPv4 and IPv6/],
    [
      { plugins: dual, files: { ...v4, '/proc/sys/net/ipv6/conf/all/forwarding': '0' } },
      /^warning: no forwarding of IPv6:.*net\.ipv6\.conf\.all\.forwarding=1/,
    ],
    [
      { plugins, ...way, files: { ...v4, '/proc/sys/net/ipv4/conf/eth0/forwarding': '0' } },
      /^warning: net\.ipv4\.conf\.eth0\.forwarding is 0/,
    ],
    [{ plugins: [{ type: 'macvlan' }] }, /^ok: not needed/],
  ]);
  const off = (value: string) => ({ '/proc/sys/net/ipv6/conf/default/disable_ipv6': value });
  await are('ip-families', [
    [{ plugins }, /^ok: not in this kernel, and not used/],
    [{ plugins: dual }, /^failure: .*the kernel has no IPv6; boot without ipv6\.disable=1/],
    [
      { plugins: dual, files: off('1') },
      /^failure: .*conf\.default\.disable_ipv6 is 1.*default\.disable_ipv6=0/,
    ],
    [{ plugins: dual, files: off('0') }, /^ok: pods get it/],
  ]);
});

test('bridged packets, reverse path filters, the table of connections, and the loopback', async () => {
  const plugins = [bridge({}, '10.1.0.0/24')];
  const nf = (value: string) => ({ '/proc/sys/net/bridge/bridge-nf-call-iptables': value });
  await are('bridge-nf', [
    [{ plugins: [{ type: 'ptp' }] }, /^ok: not needed/],
    [{ plugins }, /^warning: br_netfilter is not loaded.*modprobe br_netfilter/],
    [{ plugins, files: nf('0') }, /^warning: bridge-nf-call-iptables is 0/],
    [{ plugins, files: nf('1') }, /^ok/],
    [{ plugins: [bridge({}, 'fd00::/64')], files: nf('1') }, /^warning: br_netfilter/],
  ]);
  const strict = (link: string, value = '1') => ({ [`/proc/sys/net/ipv4/conf/${link}/rp_filter`]: value });
  const two = { links: ['eth0 - 1500', 'eth1 - 1500'], routes: ['0.0.0.0/0 eth0 gw', '0.0.0.0/0 eth1 gw'] };
  await are('rp-filter', [
    [{ plugins }, /^ok: not strict/],
    [{ ...two, routes: two.routes.slice(0, 1), files: strict('all') }, /^ok: strict, where/],
    [
      { ...two, files: strict('all') },
      /^warning: strict on eth0, eth1, and the node has default routes by eth0, eth1/,
    ],
    [{ ...two, files: { ...strict('all'), ...strict('eth0', '2') } }, /^warning: strict on eth1/],
    [{ ...two, files: strict('all', '2') }, /^ok/],
    [{ plugins: [{ type: 'cilium-cni' }], files: strict('default') }, /^warning: .*cilium.*lxc\*/],
  ]);
  const table = (count: number) => ({
    '/proc/sys/net/netfilter/nf_conntrack_count': `${count}`,
    '/proc/sys/net/netfilter/nf_conntrack_max': '1000',
  });
  await are('conntrack', [
    [{}, /^ok: no table/],
    [{ files: table(799) }, /^ok: 799 of 1000/],
    [{ files: table(800) }, /^warning: 800 of 1000 .*nf_conntrack_max=2000/],
  ]);
  await are('loopback', [
    [{}, /^ok: up/],
    [{ links: ['lo down 65536'] }, /^failure: lo is not up/],
  ]);
});

test('iptables in one form and rules in the other, or in both; none at all', async () => {
  const kube = ':KUBE-SERVICES - [0:0]\n-A KUBE-SERVICES -j RETURN\n';
  const docker = ':DOCKER - [0:0]\n-A DOCKER -j RETURN\n-A DOCKER -j RETURN\n';
  const names = { '/proc/net/ip_tables_names': 'nat\nfilter' };
  const legacy = 'iptables v1.8.9 (legacy)';
  await are('iptables', [
    [{ programs: { iptables: NFT, 'iptables-nft-save': kube } }, /^ok: \/sbin\/iptables, .*nf_tables/],
    [{ programs: { iptables: legacy, 'iptables-legacy-save': kube }, files: names }, /^ok/],
    [{ programs: { iptables: NFT, 'iptables-nft-save': kube, 'iptables-legacy-save': docker } }, /^ok/], // no such tables
    [
      {
        programs: { iptables: NFT, 'iptables-nft-save': kube, 'iptables-legacy-save': docker },
        files: names,
      },
      /^warning: .*both forms: 2 in legacy \(of docker\), 1 in nf_tables \(of kube-proxy or kubelet\).*--set iptables \/sbin\/iptables-nft\)/,
    ],
    [
      { programs: { iptables: legacy, 'iptables-nft-save': kube } },
      /^warning: .*in the other form: 1 in nf_tables \(of kube-proxy.*--set iptables \/sbin\/iptables-nft,/,
    ],
    [
      { programs: { iptables: NFT, 'iptables-legacy-save': kube }, files: names },
      /^warning: .*other form: 1 in legacy/,
    ],
    [
      {},
      /^ok: program iptables is not in \/sbin: crisp writes masquerading and host ports to nf_tables itself/,
    ],
    [
      { plugins: [{ type: 'calico' }], native: 'exec' },
      /^warning: program iptables is not in \/sbin: plugins \(calico\) need it/,
    ],
    [
      { plugins: [bridge({}, '10.1.0.0/24'), { type: 'firewall' }] },
      /^warning: program iptables is not in \/sbin: the CNI plugin firewall needs it; /,
    ],
    [{ nfTables: false }, /^failure: .*the kernel has no nf_tables/],
  ]);
});

test('NetworkManager and systemd-networkd, which take over links that they are not told to leave', async () => {
  const plugins = [bridge({}, '10.1.0.0/24')];
  const manager = (text: string): Facts => ({
    plugins,
    running: ['NetworkManager'],
    files: { '/etc/NetworkManager/conf.d/x.conf': text },
  });
  const networkd = (files: Readonly<Record<string, string>>): Facts => ({
    plugins,
    running: ['systemd-networkd'],
    files,
  });
  const all = '/etc/systemd/network/50-all.network';
  const MATCH_ALL = '[Match]\nType=ether\n[Network]\nDHCP=yes\n';
  await are('link-managers', [
    [{ plugins }, /^ok: neither/],
    [
      manager(''),
      /^warning: NetworkManager runs, and may take over links of pods: veth, b0; .*interface-name:veth\*;interface-name:b0"/,
    ],
    [
      manager('[keyfile]\nunmanaged-devices=interface-name:veth*;interface-name:b*\n'),
      /^ok: NetworkManager leaves/,
    ],
    [manager('[keyfile]\nunmanaged-devices+=type:veth\n'), /^warning: .*: b0;/],
    [
      networkd({ [all]: MATCH_ALL }),
      /^warning: systemd-networkd runs, and \/etc\/systemd\/network\/50-all\.network fits/,
    ],
    [networkd({ [all]: '[Match]\nName=eth* en*\n' }), /^ok/],
    [networkd({ [all]: '[Match]\nType=ether\nKind=!veth\n' }), /^ok/],
    [
      networkd({
        [all]: MATCH_ALL,
        '/etc/systemd/network/00-pods.network': '[Match]\nKind=veth\n[Link]\nUnmanaged=yes\n',
      }),
      /^ok: systemd-networkd leaves/,
    ],
  ]);
});
