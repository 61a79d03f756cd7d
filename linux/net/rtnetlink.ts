/**
 * The rtnetlink acts of a bridge network: bridges, veth pairs, addresses and routes. All calls are synchronous and
 * mean the network namespace of the thread that made the socket.
 */
import { errnoOf } from '#core/errors.ts';
import { formatIp, type IpAddress, ipBytes, widthOf } from './ip-address.ts';
import {
  attribute,
  Netlink,
  type NetlinkRequest,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  nested,
  parseAttributes,
  textAttribute,
  textOf,
  word,
} from './netlink.ts';
import {
  ADDRESS_HEADER,
  AF,
  addressParts,
  header,
  IFA,
  IFF_ALLMULTI,
  IFF_UP,
  IFLA,
  INFO_KIND,
  LINK_HEADER,
  MAIN_TABLE,
  type Prefixed,
  ROUTE_HEADER,
  RTA,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELROUTE,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_GETROUTE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWROUTE,
  RTM_SETLINK,
  routeHeader,
  UNICAST,
} from './rtnetlink-message.ts';

const INFO_DATA = 2;
const VETH_PEER = 1;
const BRPORT_MODE = 4;
/** IFA_F_DADFAILED and IFA_F_TENTATIVE. */
const UNSETTLED = 0x48;
const OPER_UP = 6;
const PROTO_BOOT = 3;
/** Scopes of routes: rtnetlink(7). */
const SCOPES = { universe: 0, link: 253, host: 254, nowhere: 255 };
/** The index of the loopback that every new network namespace has. */
export const LOOPBACK = 1;

export interface FoundLink {
  readonly index: number;
  /** `aa:bb:…` */
  readonly mac: string;
  /** `bridge`, `veth`, …; empty for plain devices. */
  readonly kind: string;
  /** Whether it carries frames. */
  readonly up: boolean;
  readonly mtu: number;
  readonly promiscuous: boolean;
  readonly allMulticast: boolean;
}

/** How a destination is reached. */
export interface Path {
  readonly gateway?: IpAddress;
  /** The address that packets get where they have none. */
  readonly source?: IpAddress;
  readonly scope?: 'link' | 'host';
  /** Throws EEXIST where the route is there already. */
  readonly exclusive?: boolean;
}

export type { Prefixed } from './rtnetlink-message.ts';

export class RtnetlinkSocket implements Disposable {
  readonly #netlink = new Netlink();

  /** undefined where there is no link of that name. */
  find(name: string): FoundLink | undefined {
    const what = `get the link ${name}`;
    const query = Buffer.concat([header(0), textAttribute(IFLA.name, name)]);
    const [answer] = this.#missingIsNone(() => this.#netlink.request(what, RTM_GETLINK, NLM_F_ACK, query));
    if (!answer) return undefined;
    const found = parseAttributes(answer.body, LINK_HEADER);
    const info = parseAttributes(found.get(IFLA.info) ?? Buffer.alloc(0), 0);
    return {
      index: answer.body.readInt32LE(4),
      mac: (found.get(IFLA.address)?.toString('hex').match(/../g) ?? []).join(':'),
      kind: textOf(info.get(INFO_KIND)),
      up: found.get(IFLA.operstate)?.[0] === OPER_UP,
      mtu: found.get(IFLA.mtu)?.readUInt32LE() ?? 0,
      promiscuous: (found.get(IFLA.promiscuity)?.readUInt32LE() ?? 0) > 0,
      allMulticast: (answer.body.readUInt32LE(8) & IFF_ALLMULTI) !== 0,
    };
  }

  /** `mtu` 0: the kernel's default. One that is there already is success. */
  addBridge(name: string, mtu: number): void {
    const info = nested(IFLA.info, textAttribute(INFO_KIND, 'bridge'), nested(INFO_DATA));
    const parts = [header(0), textAttribute(IFLA.name, name), ...mtuAttribute(mtu), info];
    try {
      this.#create(`make the bridge ${name}`, RTM_NEWLINK, parts);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
  }

  /** A pair without queues, the peer in another namespace. Throws EEXIST where either name is taken. */
  addVeth(pair: { name: string; peer: string; peerNamespace: number; mtu: number }): void {
    const { name, peer, peerNamespace, mtu } = pair;
    const common = [word(IFLA.queue, 0), ...mtuAttribute(mtu)];
    const other = [header(0), textAttribute(IFLA.name, peer), ...common, word(IFLA.namespace, peerNamespace)];
    const data = nested(INFO_DATA, nested(VETH_PEER, ...other));
    const info = nested(IFLA.info, textAttribute(INFO_KIND, 'veth'), data);
    const parts = [header(0), textAttribute(IFLA.name, name), ...common, info];
    this.#create(`make the link pair ${name} and ${peer}`, RTM_NEWLINK, parts);
  }

  /** A device that gives back what is sent to it, up, without a queue. Throws EEXIST where the name is taken. */
  addIfb(name: string, mtu: number): void {
    const info = nested(IFLA.info, textAttribute(INFO_KIND, 'ifb'));
    const parts = [textAttribute(IFLA.name, name), ...mtuAttribute(mtu), word(IFLA.queue, 0), info];
    this.#create(`make the device ${name}`, RTM_NEWLINK, [header(0, IFF_UP, IFF_UP), ...parts]);
  }

  setUp(index: number, up = true): void {
    this.#change(
      `bring link ${index} ${up ? 'up' : 'down'}`,
      RTM_NEWLINK,
      header(index, up ? IFF_UP : 0, IFF_UP),
    );
  }

  /** A flag of the link, IFF_…. */
  setFlag(index: number, flag: number, on: boolean): void {
    const what = `turn flag 0x${flag.toString(16)} of link ${index} ${on ? 'on' : 'off'}`;
    this.#change(what, RTM_SETLINK, header(index, on ? flag : 0, flag));
  }

  setMtu(index: number, mtu: number): void {
    this.#change(`set the MTU ${mtu} of link ${index}`, RTM_SETLINK, header(index), word(IFLA.mtu, mtu));
  }

  setMaster(index: number, master: number): void {
    this.#change(
      `join link ${index} to bridge ${master}`,
      RTM_SETLINK,
      header(index),
      word(IFLA.master, master),
    );
  }

  /** Whether frames of a bridge's port may leave by the same port. */
  setHairpin(index: number, on: boolean): void {
    const port = nested(IFLA.protinfo, attribute(BRPORT_MODE, Uint8Array.of(on ? 1 : 0)));
    const head = header(index);
    head[0] = AF.bridge;
    this.#change(`set the hairpin mode of link ${index}`, RTM_SETLINK, head, port);
  }

  setMac(index: number, mac: string): void {
    const bytes = Buffer.from(mac.replaceAll(':', ''), 'hex');
    this.#change(
      `set the address ${mac} of link ${index}`,
      RTM_SETLINK,
      header(index),
      attribute(IFLA.address, bytes),
    );
  }

  addresses(index: number): Prefixed[] {
    const what = `list the addresses of link ${index}`;
    return this.#netlink
      .request(what, RTM_GETADDR, NLM_F_DUMP, Buffer.alloc(ADDRESS_HEADER))
      .filter(({ body }) => body.readUInt32LE(4) === index)
      .map(({ body }) => {
        const found = parseAttributes(body, ADDRESS_HEADER);
        const bytes = found.get(IFA.local) ?? found.get(IFA.address) ?? Buffer.alloc(4);
        const value = BigInt(`0x${bytes.toString('hex')}`);
        return { ip: { family: body[0] === AF[4] ? 4 : 6, value }, prefixLength: body[1] ?? 0 };
      });
  }

  /** Whether each address can be used: none waits for the detection of duplicates, or was found to be one. */
  isSettled(index: number): boolean {
    return this.#netlink
      .request(`list the addresses of link ${index}`, RTM_GETADDR, NLM_F_DUMP, Buffer.alloc(ADDRESS_HEADER))
      .every(({ body }) => body.readUInt32LE(4) !== index || ((body[2] ?? 0) & UNSETTLED) === 0);
  }

  addAddress(index: number, address: Prefixed): void {
    this.#create(`give link ${index} an address`, RTM_NEWADDR, addressParts(index, address));
  }

  removeAddress(index: number, address: Prefixed): void {
    const what = `remove ${formatIp(address.ip)} from link ${index}`;
    this.#change(what, RTM_DELADDR, ...addressParts(index, address));
  }

  /** Into the main table, by a link. */
  addRoute(index: number, to: Prefixed, { gateway, source, scope, exclusive = false }: Path): void {
    const head = routeHeader(to, PROTO_BOOT, SCOPES[scope ?? 'universe'], UNICAST);
    const parts = [
      attribute(RTA.destination, ipBytes(to.ip)),
      ...(source ? [attribute(RTA.source, ipBytes(source))] : []),
      ...(gateway ? [attribute(RTA.gateway, ipBytes(gateway))] : []),
      word(RTA.interface, index),
    ];
    const flags = NLM_F_ACK | NLM_F_CREATE | (exclusive ? NLM_F_EXCL : 0);
    const what = `add the route to ${formatIp(to.ip)}/${to.prefixLength}`;
    this.#netlink.request(what, RTM_NEWROUTE, flags, Buffer.concat([head, ...parts]));
  }

  /** Of the main table. */
  removeRoute(index: number, to: Prefixed): void {
    const parts = [attribute(RTA.destination, ipBytes(to.ip)), word(RTA.interface, index)];
    const what = `remove the route to ${formatIp(to.ip)}/${to.prefixLength}`;
    this.#change(what, RTM_DELROUTE, routeHeader(to, 0, SCOPES.nowhere, 0), ...parts);
  }

  /** Those of the main table that go by the link. */
  routes(index: number): { to: Prefixed; gateway: IpAddress | undefined }[] {
    return this.#netlink
      .request(`list the routes by link ${index}`, RTM_GETROUTE, NLM_F_DUMP, Buffer.alloc(ROUTE_HEADER))
      .flatMap(({ body }) => {
        const found = parseAttributes(body, ROUTE_HEADER);
        const family = body[0] === AF[4] ? 4 : 6;
        if (body[4] !== MAIN_TABLE || found.get(RTA.interface)?.readUInt32LE() !== index) return [];
        const of = (bytes: Buffer): IpAddress => ({ family, value: BigInt(`0x${bytes.toString('hex')}`) });
        const gateway = found.get(RTA.gateway);
        const ip = of(found.get(RTA.destination) ?? Buffer.alloc(1));
        return [{ to: { ip, prefixLength: body[1] ?? 0 }, gateway: gateway && of(gateway) }];
      });
  }

  /** The index of the link by which an address is reached; undefined where there is no route. */
  linkTo(ip: IpAddress): number | undefined {
    const head = Buffer.alloc(12);
    head.set([AF[ip.family], widthOf(ip.family)]);
    const body = Buffer.concat([head, attribute(RTA.destination, ipBytes(ip))]);
    const lookUp = () => this.#netlink.request('look up a route', RTM_GETROUTE, NLM_F_ACK, body);
    const [answer] = this.#missingIsNone(lookUp);
    return answer && parseAttributes(answer.body, 12).get(RTA.interface)?.readUInt32LE();
  }

  nameOf(index: number): string {
    const [answer] = this.#netlink.request(`get link ${index}`, RTM_GETLINK, NLM_F_ACK, header(index));
    return textOf(answer && parseAttributes(answer.body, LINK_HEADER).get(IFLA.name));
  }

  #create(what: string, type: number, parts: readonly Buffer[]): void {
    this.#netlink.request(what, type, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, Buffer.concat(parts));
  }

  #change(what: string, type: number, ...parts: readonly Buffer[]): void {
    this.#netlink.request(what, type, NLM_F_ACK, Buffer.concat(parts));
  }

  #missingIsNone<T>(act: () => T[]): T[] {
    try {
      return act();
    } catch (error) {
      if (['ENODEV', 'ENETUNREACH', 'EHOSTUNREACH'].includes(errnoOf(error) ?? '')) return [];
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
  }
}

/** Deletes a link and its peer. To be sent by `LinkRemoval`, since it may take long. */
export const linkDeletion = (index: number): NetlinkRequest => ({
  type: RTM_DELLINK,
  flags: NLM_F_ACK,
  body: header(index),
});

const mtuAttribute = (mtu: number): Buffer[] => (mtu === 0 ? [] : [word(IFLA.mtu, mtu)]);
