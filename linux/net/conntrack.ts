/** The kernel's table of connections, as far as host ports need it (ctnetlink). Synchronous. */
import { errnoOf } from '#core/errors.ts';
import type { UdpFlows } from '../ports/kernel.ts';
import { formatIp } from './ip-address.ts';
import { NETLINK_NETFILTER, Netlink, NLM_F_ACK, NLM_F_DUMP, nested, parseAttributes } from './netlink.ts';
import { readNodeNetwork } from './node-network.ts';
import { AF } from './rtnetlink-message.ts';

const CT_GET = 0x101;
const CT_DELETE = 0x102;
const HEADER = 4;
const TUPLE_ORIG = 1;
const TUPLE_REPLY = 2;
const TUPLE_IP = 1;
const TUPLE_PROTO = 2;
/** Of the source. */
const IP_ADDRESS = { 4: 1, 6: 3 };
const IP_DESTINATION = { 4: 2, 6: 4 };
const PROTO_NUMBER = 1;
const PROTO_DESTINATION_PORT = 3;

const UDP = 17;
/** The kernel tracks no connections, or is built without netlink for them. */
const NOT_LISTED: readonly (string | undefined)[] = ['EPROTONOSUPPORT', 'EOPNOTSUPP', 'EINVAL'];

/** See `PodLinks.forgetUdp`. */
export function forgetUdp({ families, ports, pods }: UdpFlows): void {
  const wanted = {
    ports: new Set(ports),
    pods: new Set(pods),
    own: ports.length > 0 ? ownAddresses() : NONE,
  };
  try {
    using netlink = new Netlink(NETLINK_NETFILTER);
    for (const family of families) forgetWhere(netlink, family, wanted);
  } catch (error) {
    if (!NOT_LISTED.includes(errnoOf(error))) throw error;
  }
}

interface Wanted {
  readonly ports: ReadonlySet<number>;
  readonly pods: ReadonlySet<string>;
  /** The node's addresses: what goes elsewhere, to the same port, is none of the pod's. */
  readonly own: ReadonlySet<string>;
}

const NONE: ReadonlySet<string> = new Set();

const ownAddresses = (): ReadonlySet<string> =>
  new Set(readNodeNetwork().links.flatMap(({ addresses }) => addresses.map(({ ip }) => formatIp(ip))));

function forgetWhere(netlink: Netlink, family: 4 | 6, { ports, pods, own }: Wanted): void {
  const header = Buffer.alloc(HEADER);
  header[0] = AF[family];
  for (const { body } of netlink.request('list connections', CT_GET, NLM_F_DUMP, header)) {
    const flow = parseAttributes(body, HEADER);
    const original = flow.get(TUPLE_ORIG) ?? Buffer.alloc(0);
    const protocol = inside(original, TUPLE_PROTO);
    if (protocol.get(PROTO_NUMBER)?.[0] !== UDP) continue;
    const port = protocol.get(PROTO_DESTINATION_PORT)?.readUInt16BE() ?? 0;
    const answering = inside(flow.get(TUPLE_REPLY), TUPLE_IP).get(IP_ADDRESS[family]);
    const to = inside(original, TUPLE_IP).get(IP_DESTINATION[family]);
    const isPublished = ports.has(port) && to !== undefined && own.has(textOf(family, to));
    if (!isPublished && !(answering && pods.has(textOf(family, answering)))) continue;
    try {
      const request = Buffer.concat([header, nested(TUPLE_ORIG, original)]);
      netlink.request(`forget the UDP flow to port ${port}`, CT_DELETE, NLM_F_ACK, request);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error; // it ended meanwhile
    }
  }
}

/** A part of a tuple. */
const inside = (tuple: Buffer | undefined, part: number): Map<number, Buffer> =>
  parseAttributes(parseAttributes(tuple ?? Buffer.alloc(0), 0).get(part) ?? Buffer.alloc(0), 0);

const textOf = (family: 4 | 6, bytes: Buffer): string =>
  formatIp({ family, value: BigInt(`0x${bytes.toString('hex')}`) });
