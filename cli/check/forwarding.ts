/** What the kernel does with the packets of pods: /proc/sys/net. */
import type { Node } from '#daemon/preflight/node.ts';
import { familiesOf } from '#daemon/preflight/pod-network.ts';
import { type Check, failure, ok, type Result, warning } from './result.ts';

const SYS = '/proc/sys/net';
/** Of the table of connections in use, from which on it is said. */
const NEARLY_FULL = 0.8;

export const forwardingChecks: readonly Check[] = [
  {
    id: 'loopback',
    run(node) {
      const lo = node.nodeNetwork().links.find(({ name }) => name === 'lo');
      if (lo?.up) return ok('up');
      return failure(
        'lo is not up: the kubelet, probes and the streams of kubectl use it',
        'ip link set lo up, and see why the init system does not',
      );
    },
  },
  { id: 'ip-families', run: ipv6 },
  { id: 'ip-forward', run: ipForward },
  { id: 'bridge-nf', run: bridgeNetfilter },
  { id: 'rp-filter', run: rpFilter },
  { id: 'conntrack', run: conntrack },
];

const keysOf = { 4: 'ipv4.ip_forward', 6: 'ipv6.conf.all.forwarding' } as const;
const setting = (values: string): string => `sysctl -w ${values}, and in a file of /etc/sysctl.d`;

async function ipv6(node: Node): Promise<Result> {
  const network = await node.podNetwork();
  const isUsed = familiesOf(network).includes(6);
  const hasIt = node.exists(`${SYS}/ipv6`);
  if (!isUsed) return ok(hasIt ? 'the pod network has no range of it' : 'not in this kernel, and not used');
  const ranges = `${network?.config.source} has ranges of IPv6`;
  if (!hasIt)
    return failure(
      `${ranges}, and the kernel has no IPv6`,
      'boot without ipv6.disable=1, or remove these ranges',
    );
  const off = ['all', 'default'].filter((name) => node.text(`${SYS}/ipv6/conf/${name}/disable_ipv6`) === '1');
  if (off.length === 0) return ok('pods get it');
  return failure(
    `${ranges}, and net.ipv6.conf.${off.join('|')}.disable_ipv6 is 1: no link gets an address`,
    setting(off.map((name) => `net.ipv6.conf.${name}.disable_ipv6=0`).join(' ')),
  );
}

async function ipForward(node: Node): Promise<Result> {
  const network = await node.podNetwork();
  if (network && !network.isRouted) return ok('not needed: pods are in the network of a link of the node');
  const families = familiesOf(network).filter((family) => family === 4 || node.exists(`${SYS}/ipv6`));
  const off = families.filter((family) => node.text(`${SYS}/${keysOf[family].replaceAll('.', '/')}`) !== '1');
  if (off.length > 0)
    return warning(
      `no forwarding of IPv${off.join(' and IPv')}: pods reach no other hosts until a plugin turns it on`,
      setting(off.map((family) => `net.${keysOf[family]}=1`).join(' ')),
    );
  const links = linksOf(node, network?.bridge?.name);
  const single = links.flatMap((link) =>
    families
      .filter((family) => node.text(`${SYS}/ipv${family}/conf/${link}/forwarding`) === '0')
      .map((family) => `net.ipv${family}.conf.${link}.forwarding`),
  );
  if (single.length > 0)
    return warning(
      `${single.join(', ')} is 0: packets of pods that come in there are dropped`,
      setting(single.map((key) => `${key}=1`).join(' ')),
    );
  return ok(`on for IPv${families.join(' and IPv')}`);
}

/** The links by which the node is reached, and the bridge of pods where it is there. */
function linksOf(node: Node, bridge: string | undefined): readonly string[] {
  const { links, routes } = node.nodeNetwork();
  const ways = routes.filter(({ to }) => to.prefixLength === 0).map(({ link }) => link);
  return links.map(({ name }) => name).filter((name) => ways.includes(name) || name === bridge);
}

async function bridgeNetfilter(node: Node): Promise<Result> {
  const network = await node.podNetwork();
  if (!network?.bridge) return ok('not needed: the pod network has no bridge');
  const found = familiesOf(network).map((family) => {
    const key = family === 4 ? 'bridge-nf-call-iptables' : 'bridge-nf-call-ip6tables';
    return { key, value: node.text(`${SYS}/bridge/${key}`) };
  });
  const off = found.filter(({ value }) => value !== '1');
  if (off.length === 0) return ok(found.map(({ key }) => key).join(', '));
  const effect =
    'a Service whose endpoint is on the same node may not answer, and network policies miss packets';
  const set = setting(off.map(({ key }) => `net.bridge.${key}=1`).join(' '));
  if (off.some(({ value }) => value === undefined))
    return warning(
      `br_netfilter is not loaded: ${effect}`,
      `modprobe br_netfilter, and name it in a file of /etc/modules-load.d; then ${set}`,
    );
  return warning(`${off.map(({ key }) => key).join(', ')} is 0: ${effect}`, set);
}

async function rpFilter(node: Node): Promise<Result> {
  const network = await node.podNetwork();
  const conf = (name: string) => Number(node.text(`${SYS}/ipv4/conf/${name}/rp_filter`) ?? 0);
  // The kernel takes the larger of both: 1 is strict, 2 loose.
  const isStrict = (link: string) => Math.max(conf('all'), conf(link)) === 1;
  const { links, routes } = node.nodeNetwork();
  const ways = [
    ...new Set(
      routes
        .filter(({ to }) => to.prefixLength === 0 && to.ip.family === 4)
        .flatMap(({ link }) => (link === undefined ? [] : [link])),
    ),
  ];
  const strict = links.map(({ name }) => name).filter(isStrict);
  const uplinks = ways.filter((name) => strict.includes(name));
  if (ways.length > 1 && uplinks.length > 0)
    return warning(
      `strict on ${uplinks.join(', ')}, and the node has default routes by ${ways.join(', ')}: packets that come in by another link than the one back are dropped`,
      setting(['all', ...uplinks].map((name) => `net.ipv4.conf.${name}.rp_filter=2`).join(' ')),
    );
  // Its pods' links have no route of the main table.
  const isCilium = network?.types.includes('cilium-cni') === true;
  if (isCilium && (conf('all') === 1 || conf('default') === 1))
    return warning(
      'strict for new links: packets of pods of cilium are dropped',
      'in a file of /etc/sysctl.d that is last by name: net.ipv4.conf.lxc*.rp_filter=0 and net.ipv4.conf.all.rp_filter=0; sysctl --system',
    );
  return ok(
    strict.length === 0 ? 'not strict' : `strict, where the way back is the same: ${strict.join(', ')}`,
  );
}

function conntrack(node: Node): Result {
  const value = (name: string) => Number(node.text(`${SYS}/netfilter/nf_conntrack_${name}`) ?? Number.NaN);
  const [count, max] = [value('count'), value('max')];
  if (Number.isNaN(count) || Number.isNaN(max)) return ok('no table of connections');
  const found = `${count} of ${max} connections`;
  if (max === 0 || count < NEARLY_FULL * max) return ok(found);
  return warning(
    `${found}: new ones are dropped where the table is full`,
    `${setting(`net.netfilter.nf_conntrack_max=${2 * max}`)}; kube-proxy sets it, too (conntrack.maxPerCore)`,
  );
}
