/**
 * The rtnetlink acts of a bridge network: bridges, veth pairs, addresses and routes. All calls are synchronous and
 * mean the network namespace of the thread that made the socket.
 */
import { errnoOf } from '#core/errors.ts';
import { type IpAddress, ipBytes, widthOf } from './ip-address.ts';
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

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
const IFF_UP = 1;
const IFLA = {
  address: 1,
  name: 3,
  mtu: 4,
  master: 10,
  protinfo: 12,
  queue: 13,
  operstate: 16,
  info: 18,
  namespace: 28,
};
const INFO_KIND = 1;
const INFO_DATA = 2;
const VETH_PEER = 1;
const BRPORT_MODE = 4;
const IFA = { address: 1, local: 2, broadcast: 4 };
const RTA = { destination: 1, interface: 4, gateway: 5 };
const AF = { 4: 2, 6: 10, bridge: 7 };
const LINK_HEADER = 16;
const ADDRESS_HEADER = 8;
const ROUTE_HEADER = 12;
const OPER_UP = 6;
const MAIN_TABLE = 254;
const PROTO_BOOT = 3;
const UNICAST = 1;
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
}

/** An address with the length of its network's prefix. */
export interface Prefixed {
  readonly ip: IpAddress;
  readonly prefixLength: number;
}

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

  setUp(index: number, up = true): void {
    this.#change(
      `bring link ${index} ${up ? 'up' : 'down'}`,
      RTM_NEWLINK,
      header(index, up ? IFF_UP : 0, IFF_UP),
    );
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

  /** With the broadcast address that IPv4 has in networks of more than two addresses. */
  addAddress(index: number, { ip, prefixLength }: Prefixed): void {
    const head = Buffer.alloc(ADDRESS_HEADER);
    head[0] = AF[ip.family];
    head[1] = prefixLength;
    head.writeUInt32LE(index, 4);
    const parts = [head, attribute(IFA.local, ipBytes(ip)), attribute(IFA.address, ipBytes(ip))];
    if (ip.family === 4 && prefixLength < 31) {
      const last = ip.value | ((1n << BigInt(32 - prefixLength)) - 1n);
      parts.push(attribute(IFA.broadcast, ipBytes({ family: 4, value: last })));
    }
    this.#create(`give link ${index} an address`, RTM_NEWADDR, parts);
  }

  /** Into the main table, by a gateway that the link reaches. */
  addRoute(index: number, to: Prefixed, gateway: IpAddress): void {
    const head = Buffer.alloc(12);
    head.set([AF[to.ip.family], to.prefixLength, 0, 0, MAIN_TABLE, PROTO_BOOT, 0, UNICAST]);
    const parts = [attribute(RTA.destination, ipBytes(to.ip)), attribute(RTA.gateway, ipBytes(gateway))];
    const body = Buffer.concat([head, ...parts, word(RTA.interface, index)]);
    this.#netlink.request('add a route', RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE, body);
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

function header(index: number, flags = 0, change = 0): Buffer {
  const bytes = Buffer.alloc(LINK_HEADER);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(change, 12);
  return bytes;
}

const mtuAttribute = (mtu: number): Buffer[] => (mtu === 0 ? [] : [word(IFLA.mtu, mtu)]);
