/**
 * Just enough rtnetlink: requests with attributes, acknowledged or dumped, over a socket that lives for one use. All
 * calls are synchronous: the socket belongs to the network namespace of the thread that opens it.
 */
import { closeSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { check, refused } from './errno.ts';
import { receiveBytes, sendBytes, socket } from './libc.ts';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const HEADER = 16;
export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
/** The kernel's dumps come in pieces of at most 32 KiB. */
const RECEIVE = 1 << 16;

export interface NetlinkMessage {
  readonly type: number;
  readonly body: Buffer;
}

const align = (length: number): number => (length + 3) & ~3;

/** One attribute: length, type, value, padded to four bytes. */
export function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc(align(4 + value.length));
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

/** An attribute that holds attributes. */
export const nested = (type: number, ...parts: readonly Uint8Array[]): Buffer =>
  attribute(type | 0x8000, Buffer.concat(parts));

/** An attribute of 32 bits in the machine's order. */
export function word(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return attribute(type, bytes);
}

/** An attribute of text with its closing zero. */
export const textAttribute = (type: number, value: string): Buffer =>
  attribute(type, Buffer.from(`${value}\0`));

/** The attributes of a message's body from an offset on; a later one of the same type wins. */
export function parseAttributes(body: Buffer, offset: number): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = offset; at + 4 <= body.length; ) {
    const length = body.readUInt16LE(at);
    if (length < 4 || at + length > body.length) break;
    found.set(body.readUInt16LE(at + 2) & 0x3fff, body.subarray(at + 4, at + length));
    at += align(length);
  }
  return found;
}

/** A whole request: header and body. */
export function encodeRequest(type: number, flags: number, sequence: number, body: Uint8Array): Buffer {
  const bytes = Buffer.alloc(HEADER + body.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(type, 4);
  bytes.writeUInt16LE(flags | NLM_F_REQUEST, 6);
  bytes.writeUInt32LE(sequence, 8);
  bytes.set(body, HEADER);
  return bytes;
}

/** A socket in the network namespace of the calling thread. */
export class Netlink implements Disposable {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(RECEIVE);
  #sequence = 0;

  constructor(protocol = NETLINK_ROUTE) {
    this.#fd = check(socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol), 'open a netlink socket');
  }

  /** Sends one request; returns what was dumped (with NLM_F_DUMP) or nothing (NLM_F_ACK). `what` names it in errors. */
  request(what: string, type: number, flags: number, body: Uint8Array): NetlinkMessage[] {
    const sequence = ++this.#sequence;
    const bytes = encodeRequest(type, flags, sequence, body);
    check(sendBytes(this.#fd, bytes, bytes.length, 0), what);
    const messages: NetlinkMessage[] = [];
    for (;;) {
      const length = check(receiveBytes(this.#fd, this.#buffer, RECEIVE, 0), what);
      if (this.#take(what, this.#buffer.subarray(0, length), sequence, messages)) return messages;
    }
  }

  /** Reads the messages of one datagram; true at the end of the answer. */
  #take(what: string, datagram: Buffer, sequence: number, messages: NetlinkMessage[]): boolean {
    for (let at = 0; at + HEADER <= datagram.length; ) {
      const length = datagram.readUInt32LE(at);
      if (length < HEADER || at + length > datagram.length) {
        throw new CrispError(
          'Internal',
          `${what}: a netlink message of ${length} bytes in ${datagram.length}`,
        );
      }
      const type = datagram.readUInt16LE(at + 4);
      if (datagram.readUInt32LE(at + 8) === sequence) {
        if (type === NLMSG_DONE) return true;
        if (type === NLMSG_ERROR) {
          const errno = datagram.readInt32LE(at + HEADER);
          if (errno === 0) return true;
          throw refused(what, -errno);
        }
        messages.push({ type, body: Buffer.from(datagram.subarray(at + HEADER, at + length)) });
      }
      at += align(length);
    }
    return false;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
