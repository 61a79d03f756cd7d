/** Where the ranges of pods collide with one another, and with addresses and routes of the node. */
import { widthOf } from '#linux/net/ip-address.ts';
import type { NodeNetwork, Prefixed } from '#linux/net/node-network.ts';
import { formatPrefix, networkOf, type PodNetwork, type PodRange } from './pod-network.ts';

/** Links that belong to pods, or to the overlay that reaches those of other nodes. */
const OF_PODS: ReadonlySet<string> = new Set(['veth', 'vxlan', 'ipip', 'sit', 'wireguard']);

/** Pairs of ranges with addresses in common. */
export function overlapsWithin(ranges: readonly PodRange[]): string[] {
  return ranges.flatMap((one, at) =>
    ranges
      .slice(at + 1)
      .filter(
        (other) =>
          one.net.ip.family === other.net.ip.family && one.first <= other.last && other.first <= one.last,
      )
      .map((other) => `${one.text} and ${other.text} overlap`),
  );
}

/**
 * Ranges of a network whose pods the node routes to, which have addresses in common with a network of its other links, or a
 * route that is as specific or more so. A wider route by a gateway gives way to the pods' own.
 */
export function overlapsWithNode({ ranges, isRouted, bridge }: PodNetwork, node: NodeNetwork): string[] {
  if (!isRouted) return [];
  // A node that is a container itself has a veth for its own network.
  const ways = new Set(node.routes.filter(({ to }) => to.prefixLength === 0).map(({ link }) => link));
  const ofPods = node.links.filter(({ kind, name }) => OF_PODS.has(kind) && !ways.has(name));
  const own = new Set(ofPods.map(({ name }) => name));
  if (bridge) own.add(bridge.name);
  const others = node.links.filter(({ name }) => !own.has(name));
  const routes = node.routes.filter(
    ({ link, to }) => to.prefixLength > 0 && (link === undefined || !own.has(link)),
  );
  const found = ranges.flatMap((range) => {
    const ofLinks = others.flatMap(({ name, addresses }) =>
      addresses
        .filter((address) => haveCommon(range.net, address))
        .map((address) => `${range.text} overlaps ${formatPrefix(address)} of ${name}`),
    );
    if (ofLinks.length > 0) return ofLinks;
    return routes
      .filter(
        ({ to, hasGateway }) =>
          haveCommon(range.net, to) && (!hasGateway || to.prefixLength >= range.net.prefixLength),
      )
      .map(
        ({ to, link }) =>
          `${range.text} overlaps the route to ${formatPrefix(to)}${link ? ` by ${link}` : ''}`,
      );
  });
  return [...new Set(found)];
}

function haveCommon(one: Prefixed, other: Prefixed): boolean {
  if (one.ip.family !== other.ip.family) return false;
  const prefixLength = Math.min(one.prefixLength, other.prefixLength);
  const start = ({ ip }: Prefixed) => networkOf({ ip, prefixLength });
  return prefixLength <= widthOf(one.ip.family) && start(one) === start(other);
}
