/**
 * Just enough netlink: requests with attributes, acknowledged or dumped, over a socket that lives for one use. All
 * calls are synchronous (async-netlink.ts has the others): the socket belongs to the network namespace of the thread
 * that opens it.
 */
import { closeSync } from 'node:fs';
import { check } from '../libc/errno.ts';
import { receiveBytes, sendBytes, setsockopt, socket } from '../libc/libc.ts';
import { completeDatagram, DumpReplies, mustRetry } from './netlink-dump.ts';
import { align, HEADER, type NetlinkMessage } from './netlink-message.ts';

export { errnoOfReply, type NetlinkMessage, NLMSG_DONE, NLMSG_ERROR } from './netlink-message.ts';

const AF_NETLINK = 16;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
/** The kernel's dumps come in pieces of at most 32 KiB. */
export const RECEIVE = 1 << 16;
/** recv(2) returns the datagram's full length, also where it did not fit. */
export const MSG_TRUNC = 0x20;

export interface NetlinkRequest {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
}

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

/** The text of such an attribute; empty where it is missing. */
export const textOf = (value: Buffer | undefined): string =>
  value?.toString('utf8').replace(/\0.*$/s, '') ?? '';

/** The attributes of a message's body from an offset on: types and values, in order. */
export function* attributesOf(body: Buffer, offset = 0): Generator<[type: number, value: Buffer]> {
  for (let at = offset; at + 4 <= body.length; ) {
    const length = body.readUInt16LE(at);
    if (length < 4 || at + length > body.length) return;
    yield [body.readUInt16LE(at + 2) & 0x3fff, body.subarray(at + 4, at + length)];
    at += align(length);
  }
}

/** The attributes by their types; a later one of the same type wins. */
export const parseAttributes = (body: Buffer, offset: number): Map<number, Buffer> =>
  new Map(attributesOf(body, offset));

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

/** Opens a socket in the network namespace of the calling thread; it stays there, whichever thread uses it. */
export const openNetlink = (protocol: number): number =>
  check(socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol), 'open a netlink socket');

/** Lets one request be of so many bytes; the system's default is some hundred KiB. */
export function allowRequests(fd: number, bytes: number): void {
  const size = Int32Array.of(bytes);
  check(setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, size, size.byteLength), 'enlarge a netlink socket');
}

/** The calls on a socket; each returns what the system call does. */
export interface NetlinkTransport {
  send(bytes: Uint8Array): number;
  receive(buffer: Buffer): number;
  close(): void;
}

function transportOf(fd: number): NetlinkTransport {
  return {
    send: (bytes) => sendBytes(fd, bytes, bytes.length, 0),
    receive: (buffer) => receiveBytes(fd, buffer, buffer.length, MSG_TRUNC),
    close: () => closeSync(fd),
  };
}

/** A socket in the network namespace of the calling thread. */
export class Netlink implements Disposable {
  readonly #transport: NetlinkTransport;
  readonly #buffer = Buffer.alloc(RECEIVE);
  #sequence = 0;

  constructor(protocol = NETLINK_ROUTE, transport = transportOf(openNetlink(protocol))) {
    this.#transport = transport;
  }

  /**
   * Sends one request; returns what was dumped (with NLM_F_DUMP) or nothing (NLM_F_ACK). `what` names it in errors. A dump
   * that was interrupted by changes is requested again; throws Aborted where that does not end.
   */
  request(what: string, type: number, flags: number, body: Uint8Array): NetlinkMessage[] {
    for (let tries = 1; ; tries++) {
      const replies = this.#ask(what, type, flags, body);
      if (!mustRetry(what, replies, tries)) return replies.messages;
    }
  }

  #ask(what: string, type: number, flags: number, body: Uint8Array): DumpReplies {
    const sequence = ++this.#sequence;
    const replies = new DumpReplies();
    check(this.#transport.send(encodeRequest(type, flags, sequence, body)), what);
    for (;;) {
      const length = check(this.#transport.receive(this.#buffer), what);
      if (replies.take(what, completeDatagram(what, this.#buffer, length), sequence)) return replies;
    }
  }

  [Symbol.dispose](): void {
    this.#transport.close();
  }
}
