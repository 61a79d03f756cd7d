/** The addresses of pods, their bridge and the size of their packets, beside what the node has. */

import type { Node } from '#daemon/preflight/node.ts';
import { overlapsWithin, overlapsWithNode } from '#daemon/preflight/overlaps.ts';
import { describeRange, formatPrefix, isOfRange, type PodNetwork } from '#daemon/preflight/pod-network.ts';
import { type Check, failure, ok, type Result, together, warning } from './result.ts';

const NONE = ok('no pod network yet');
/** Of a range in use, from which on it is said. */
const NEARLY_FULL = 0.9;

/** A check of each network that pods get, where there is one. */
const ofNetwork =
  (run: (network: PodNetwork, node: Node) => Result): Check['run'] =>
  async (node) => {
    const networks = await node.podNetworks();
    return networks.length === 0 ? NONE : together(networks.map((network) => run(network, node)));
  };

export const podNetworkChecks: readonly Check[] = [
  { id: 'pod-ranges', run: ofNetwork(ranges) },
  { id: 'pod-bridge', run: ofNetwork(bridge) },
  { id: 'pod-mtu', run: ofNetwork(mtu) },
  { id: 'pod-addresses', run: ofNetwork(addresses) },
];

function ranges(network: PodNetwork, node: Node): Result {
  const { ranges: all, invalid, config } = network;
  if (invalid.length > 0) return failure(`${config.source}: ${invalid.join('; ')}`, 'correct the file');
  if (all.length === 0) return ok('not those of host-local');
  const twice = overlapsWithin(all);
  if (twice.length > 0)
    return failure(
      `${config.source}: ${twice.join('; ')}`,
      'give each range addresses of its own: two pods would get the same one',
    );
  const found = overlapsWithNode(network, node.nodeNetwork());
  const texts = all.map(describeRange).join(', ');
  if (found.length === 0) return ok(texts);
  return warning(
    `${found.join('; ')}: pods do not reach these hosts, or the node does not reach its pods`,
    'give the pods a range that the node has no part in (kubeadm: podSubnet)',
  );
}

function bridge(network: PodNetwork, node: Node): Result {
  const { bridge: wanted, ranges: all } = network;
  if (!wanted) return ok('the network has none');
  const { name, isGateway } = wanted;
  const link = node.nodeNetwork().links.find((one) => one.name === name);
  if (!link) return ok(`${name} is made with the first pod`);
  if (link.kind !== 'bridge')
    return failure(
      `${name} is a link of kind ${link.kind || 'device'}, not a bridge`,
      'give it, or the bridge of the CNI configuration, another name',
    );
  const texts = link.addresses.map(formatPrefix).join(' ');
  const found = `${name}${texts === '' ? '' : ` has ${texts}`}`;
  // The plugin refuses a bridge that has another address of the same family.
  const wrong = all.filter(({ gateway, net }) => {
    const same = link.addresses.filter(
      ({ ip }) => ip.family === gateway.family && !(ip.family === 6 && ip.value >> 118n === 0x3fan),
    );
    return (
      same.length > 0 &&
      !same.some(({ ip, prefixLength }) => ip.value === gateway.value && prefixLength === net.prefixLength)
    );
  });
  if (!isGateway || wrong.length === 0) return ok(found);
  const gateways = wrong.map(({ gateway, net: { prefixLength } }) =>
    formatPrefix({ ip: gateway, prefixLength }),
  );
  return failure(
    `${found}, and the network wants ${gateways.join(' ')}: the bridge of an earlier range`,
    `drain the node, then: ip link delete ${name}`,
  );
}

function mtu(network: PodNetwork, node: Node): Result {
  const { links, routes } = node.nodeNetwork();
  const ways = new Set(routes.filter(({ to }) => to.prefixLength === 0).map(({ link }) => link));
  const uplinks = links.filter(({ name }) => ways.has(name));
  const existing = links.find(({ name, kind }) => name === network.bridge?.name && kind === 'bridge');
  const wanted = network.mtu ?? existing?.mtu;
  if (wanted === undefined) return ok("the kernel's default");
  const narrow = uplinks.filter((link) => link.mtu < wanted);
  if (narrow.length === 0) return ok(`${wanted}`);
  const texts = narrow.map(({ name, mtu: own }) => `${name} has ${own}`);
  return warning(
    `${wanted}, and ${texts.join(', ')}: large packets of pods are fragmented, or lost`,
    `set mtu in ${network.config.source} to ${Math.min(...narrow.map(({ mtu: own }) => own))}, less what an overlay adds (50 for VXLAN), and make the pods anew`,
  );
}

function addresses(network: PodNetwork, node: Node): Result {
  const { addressDirectories } = network;
  if (addressDirectories.length === 0) return ok('not those of host-local');
  const directories = addressDirectories.join(' ');
  const read = () => addressDirectories.flatMap((directory) => node.addressFiles(directory));
  const all = read();
  const pods = node.podIds();
  const lost = all.filter(({ owner }) => !pods.has(owner));
  // Those of pods that have ended since are released meanwhile.
  const still = lost.length === 0 ? [] : read();
  const stale = lost.filter((one) =>
    still.some(({ address, owner }) => address === one.address && owner === one.owner),
  );
  if (stale.length > 0) {
    const shown = stale.slice(0, 3).map(({ address }) => address);
    const more = stale.length > shown.length ? ` and ${stale.length - shown.length} more` : '';
    return warning(
      `${stale.length} of ${all.length} addresses in ${directories} are of no pod: ${shown.join(', ')}${more}`,
      'wait for the second round of crisp after its start, a minute later: it releases those of pods that are gone, unless cni.gc_interval is 0s; where one stays, remove its file once no container runtime has its pod',
    );
  }
  const full = network.ranges.filter((range) => {
    const size = Number(range.last - range.first);
    const used = all.filter(({ address }) => isOfRange(range, address)).length;
    return used >= NEARLY_FULL * size;
  });
  const found = `${all.length} in use (${directories})`;
  if (full.length === 0) return ok(found);
  return warning(
    `${found}: ${full.map(describeRange).join(', ')} is nearly used up`,
    'give the node a larger range (kubeadm: node-cidr-mask-size), or fewer pods',
  );
}
