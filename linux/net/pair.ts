/**
 * Pods with a link of their own to the node, in the order and with the settings of the CNI plugin `ptp` 1.1.1, so that the
 * result is the same. All of the pod's traffic, that to its own network too, goes by the node's address on the link.
 * Synchronous; for the namespace worker.
 *
 * The plugin waits a second or two while the kernel looks for duplicates of an IPv6 address, which a link of two ends to
 * which host-local gives addresses cannot have: the detection is off meanwhile, and its setting as before in the end.
 */
import { errnoOf } from '#core/errors.ts';
import type { NamespaceThread } from '../namespace/setns.ts';
import type { MadePair, PairRequest } from '../ports/kernel.ts';
import { widthOf } from './ip-address.ts';
import {
  addPair,
  allowIpv6,
  allowLocalnet,
  forward,
  mustFind,
  requireIp,
  set,
  setting,
  trySysctl,
} from './pod-end.ts';
import { LOOPBACK, type Prefixed, RtnetlinkSocket } from './rtnetlink.ts';

/** A pair whose addresses the kernel may not have settled by now. */
export interface BegunPair extends MadePair {
  /** The pod's setting of the detection of duplicates; undefined: it is not changed. */
  readonly acceptDad: string | undefined;
}

/** Makes the pair with its addresses. `finishPair` must follow; what it leaves at a failure, `leave` removes. */
export function beginPair(thread: NamespaceThread, request: PairRequest): BegunPair {
  using links = new RtnetlinkSocket();
  for (const { address } of request.addresses) forward(requireIp(address).family);
  const nodeName = addPair(links, request);
  const port = mustFind(links, nodeName);
  links.setUp(port.index);
  trySysctl(`ipv6/conf/${nodeName}/accept_ra`, '0');
  const pod = thread.inNetwork(request.netns, () => addAddresses(request));
  return { nodeName, nodeMac: port.mac, ...pod };
}

/** Adds the routes. false: nothing is done, since the addresses are not settled. */
export function finishPair(
  thread: NamespaceThread,
  request: PairRequest,
  { nodeName, acceptDad }: BegunPair,
): boolean {
  if (!thread.inNetwork(request.netns, () => addRoutes(request, acceptDad))) return false;
  using links = new RtnetlinkSocket();
  const { index } = mustFind(links, nodeName);
  for (const { address, gateway } of request.addresses) {
    links.addAddress(index, alone(gateway));
    try {
      links.addRoute(index, alone(address), { scope: 'host', exclusive: true });
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
  }
  if (request.localnet !== undefined) allowLocalnet(links, requireIp(request.localnet));
  return true;
}

/** In the pod's namespace. */
function addAddresses({
  interfaceName,
  addresses,
  loopback,
}: PairRequest): Pick<BegunPair, 'podMac' | 'acceptDad'> {
  using links = new RtnetlinkSocket();
  if (loopback) links.setUp(LOOPBACK);
  const { index, mac } = mustFind(links, interfaceName);
  const ips = addresses.map(({ address, prefixLength }) => ({ ip: requireIp(address), prefixLength }));
  let acceptDad: string | undefined;
  if (ips.some(({ ip }) => ip.family === 6)) {
    for (const name of ['lo', interfaceName]) allowIpv6(name);
    acceptDad = setting(dadOf(interfaceName));
    set(dadOf(interfaceName), '0');
  }
  for (const address of ips) links.addAddress(index, address);
  links.setUp(index);
  return { podMac: mac, acceptDad };
}

/** In the pod's namespace. */
function addRoutes(
  { interfaceName, addresses, routes }: PairRequest,
  acceptDad: string | undefined,
): boolean {
  using links = new RtnetlinkSocket();
  const { index } = mustFind(links, interfaceName);
  if (acceptDad !== undefined && !links.isSettled(index)) return false;
  if (acceptDad !== undefined) set(dadOf(interfaceName), acceptDad);
  for (const { destination, prefixLength, gateway } of routes)
    links.addRoute(index, { ip: requireIp(destination), prefixLength }, { gateway: requireIp(gateway) });
  for (const { address, prefixLength, gateway } of addresses) {
    const source = requireIp(address);
    const own = networkOf({ ip: source, prefixLength });
    links.removeRoute(index, own);
    links.addRoute(index, alone(gateway), { source, scope: 'link', exclusive: true });
    links.addRoute(index, own, { source, gateway: requireIp(gateway), exclusive: true });
  }
  return true;
}

const dadOf = (name: string): string => `ipv6/conf/${name}/accept_dad`;

/** The network of one address. */
function alone(address: string): Prefixed {
  const ip = requireIp(address);
  return { ip, prefixLength: widthOf(ip.family) };
}

function networkOf({ ip: { family, value }, prefixLength }: Prefixed): Prefixed {
  const bits = BigInt(widthOf(family) - prefixLength);
  return { ip: { family, value: (value >> bits) << bits }, prefixLength };
}
