/** The kernel's table of connections, as far as host ports need it (ctnetlink). Synchronous. */
import { errnoOf } from '#core/errors.ts';
import { NETLINK_NETFILTER, Netlink, NLM_F_ACK, NLM_F_DUMP, nested, parseAttributes } from './netlink.ts';

const CT_GET = 0x101;
const CT_DELETE = 0x102;
const HEADER = 4;
const TUPLE_ORIG = 1;
const TUPLE_PROTO = 2;
const PROTO_NUMBER = 1;
const PROTO_DESTINATION_PORT = 3;
const AF = { 4: 2, 6: 10 };
const UDP = 17;

/**
 * Forgets the UDP flows to these ports of the node. A flow that began before its port was forwarded would go on past
 * the new rule, for as long as datagrams keep it alive.
 */
export function forgetUdp(family: 4 | 6, ports: ReadonlySet<number>): void {
  using netlink = new Netlink(NETLINK_NETFILTER);
  const header = Buffer.alloc(HEADER);
  header[0] = AF[family];
  for (const { body } of netlink.request('list connections', CT_GET, NLM_F_DUMP, header)) {
    const tuple = parseAttributes(body, HEADER).get(TUPLE_ORIG) ?? Buffer.alloc(0);
    const protocol = parseAttributes(parseAttributes(tuple, 0).get(TUPLE_PROTO) ?? Buffer.alloc(0), 0);
    const port = protocol.get(PROTO_DESTINATION_PORT)?.readUInt16BE();
    if (protocol.get(PROTO_NUMBER)?.[0] !== UDP || port === undefined || !ports.has(port)) continue;
    try {
      const flow = Buffer.concat([header, nested(TUPLE_ORIG, tuple)]);
      netlink.request(`forget the UDP flow to port ${port}`, CT_DELETE, NLM_F_ACK, flow);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error; // it ended meanwhile
    }
  }
}
