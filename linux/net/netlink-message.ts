/** Messages of netlink(7) as the kernel sends them. */
import { CrispError } from '#core/errors.ts';

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
/** Bytes of struct nlmsghdr. */
export const HEADER = 16;

export const align = (length: number): number => (length + 3) & ~3;

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly body: Buffer;
}

/** The messages of one datagram with their sequence numbers. Throws Internal where a length makes no sense. */
export function* messagesOf(
  what: string,
  datagram: Buffer,
): Generator<NetlinkMessage & { sequence: number }> {
  for (let at = 0; at + HEADER <= datagram.length; ) {
    const length = datagram.readUInt32LE(at);
    if (length < HEADER || at + length > datagram.length) {
      throw new CrispError('Internal', `${what}: a netlink message of ${length} bytes in ${datagram.length}`);
    }
    const body = Buffer.from(datagram.subarray(at + HEADER, at + length));
    const [type, flags] = [datagram.readUInt16LE(at + 4), datagram.readUInt16LE(at + 6)];
    yield { type, flags, sequence: datagram.readUInt32LE(at + 8), body };
    at += align(length);
  }
}

/** The errno of a message of type NLMSG_ERROR; 0: an acknowledgement. */
export const errnoOfReply = ({ body }: NetlinkMessage): number => -body.readInt32LE(0);
