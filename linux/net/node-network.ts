/** The links, addresses and routes of a network namespace, as the kernel lists them. Only read. */
import type { IpAddress } from './ip-address.ts';
import {
  NETLINK_NETFILTER,
  Netlink,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_DUMP,
  parseAttributes,
  textOf,
} from './netlink.ts';
import {
  ADDRESS_HEADER,
  AF,
  IFA,
  IFF_UP,
  IFLA,
  INFO_KIND,
  LINK_HEADER,
  MAIN_TABLE,
  type Prefixed,
  ROUTE_HEADER,
  RTA,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_GETROUTE,
  UNICAST,
} from './rtnetlink-message.ts';

const FAMILY: Readonly<Record<number, 4 | 6>> = { [AF[4]]: 4, [AF[6]]: 6 };
/** Of the message that asks for the generation of the tables, which changes nothing. */
const NFT_GET_GENERATION = (10 << 8) | 16;

export type { Prefixed } from './rtnetlink-message.ts';

export interface NodeLink {
  readonly name: string;
  /** `bridge`, `veth`, `vxlan`, …; empty for plain devices. */
  readonly kind: string;
  /** Bytes. */
  readonly mtu: number;
  /** Whether it is set up, with a carrier or without. */
  readonly up: boolean;
  readonly addresses: readonly Prefixed[];
}

/** A unicast route of the main table. */
export interface NodeRoute {
  readonly to: Prefixed;
  /** undefined for one with several next hops. */
  readonly link: string | undefined;
  readonly hasGateway: boolean;
}

export interface NodeNetwork {
  readonly links: readonly NodeLink[];
  readonly routes: readonly NodeRoute[];
}

/** Of the calling thread's network namespace. Throws KernelRefused. */
export function readNodeNetwork(): NodeNetwork {
  using netlink = new Netlink();
  const dump = (what: string, type: number, header: number) =>
    netlink.request(`list the ${what}`, type, NLM_F_DUMP, Buffer.alloc(header));
  const addresses = dump('addresses', RTM_GETADDR, ADDRESS_HEADER).flatMap(addressOf);
  const links = dump('links', RTM_GETLINK, LINK_HEADER).map(({ body }) => {
    const found = parseAttributes(body, LINK_HEADER);
    const info = parseAttributes(found.get(IFLA.info) ?? Buffer.alloc(0), 0);
    const index = body.readInt32LE(4);
    const link: NodeLink = {
      name: textOf(found.get(IFLA.name)),
      kind: textOf(info.get(INFO_KIND)),
      mtu: found.get(IFLA.mtu)?.readUInt32LE() ?? 0,
      up: (body.readUInt32LE(8) & IFF_UP) !== 0,
      addresses: addresses.filter((address) => address.index === index).map(({ prefix }) => prefix),
    };
    return { index, link };
  });
  const names = new Map(links.map(({ index, link }) => [index, link.name]));
  const routes = dump('routes', RTM_GETROUTE, ROUTE_HEADER).flatMap((message) => routeOf(message, names));
  return { links: links.map(({ link }) => link), routes };
}

/** Whether the kernel has nf_tables. */
export function hasNfTables(): boolean {
  try {
    using netlink = new Netlink(NETLINK_NETFILTER);
    netlink.request('look for nf_tables', NFT_GET_GENERATION, NLM_F_ACK, Buffer.alloc(4));
    return true;
  } catch {
    return false;
  }
}

function addressOf({ body }: NetlinkMessage): { readonly index: number; readonly prefix: Prefixed }[] {
  const found = parseAttributes(body, ADDRESS_HEADER);
  const ip = ipOf(body[0], found.get(IFA.local) ?? found.get(IFA.address));
  return ip ? [{ index: body.readUInt32LE(4), prefix: { ip, prefixLength: body[1] ?? 0 } }] : [];
}

function routeOf({ body }: NetlinkMessage, names: ReadonlyMap<number, string>): NodeRoute[] {
  const family = FAMILY[body[0] ?? 0];
  if (!family || body[4] !== MAIN_TABLE || body[7] !== UNICAST) return [];
  const found = parseAttributes(body, ROUTE_HEADER);
  // A default route has no destination.
  const ip = ipOf(body[0], found.get(RTA.destination)) ?? { family, value: 0n };
  const hasGateway = [RTA.gateway, RTA.via, RTA.multipath].some((key) => found.has(key));
  const link = names.get(found.get(RTA.interface)?.readUInt32LE() ?? 0);
  return [{ to: { ip, prefixLength: body[1] ?? 0 }, link, hasGateway }];
}

function ipOf(family: number | undefined, bytes: Buffer | undefined): IpAddress | undefined {
  const known = FAMILY[family ?? 0];
  return known && bytes ? { family: known, value: BigInt(`0x${bytes.toString('hex')}`) } : undefined;
}
