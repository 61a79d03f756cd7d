/**
 * Netlink for requests that the kernel may keep waiting (for other changes, for the end of readers): they are sent from
 * libuv's pool. The socket belongs to the network namespace that it was opened in.
 */
import { close } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { checkOutcome, errnoName, refused } from '../libc/errno.ts';
import { asynchronous, lastErrno, receiveBytes, sendBytes } from '../libc/libc.ts';
import {
  encodeRequest,
  errnoOfReply,
  MSG_TRUNC,
  type NetlinkMessage,
  type NetlinkRequest,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLMSG_ERROR,
  RECEIVE,
} from './netlink.ts';
import { completeDatagram, DumpReplies, mustRetry } from './netlink-dump.ts';
import { messagesOf } from './netlink-message.ts';

const MSG_DONTWAIT = 0x40;

export class AsyncNetlink implements Disposable {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(RECEIVE);
  #sequence = 0;

  /** Owns the socket from now on. One request at a time; to be closed after a failure but a refusal by `send`. */
  constructor(socket: number) {
    this.#fd = socket;
  }

  /** Sends the requests as one and resolves when the kernel has carried them out. Throws its first refusal. */
  async send(what: string, requests: readonly NetlinkRequest[]): Promise<void> {
    const due = new Set<number>();
    const before = this.#sequence;
    const encoded = requests.map(({ type, flags, body }) => {
      const sequence = ++this.#sequence;
      if (flags & NLM_F_ACK) due.add(sequence);
      return encodeRequest(type, flags, sequence, body);
    });
    await this.#send(what, Buffer.concat(encoded));
    let refusal = 0;
    // The kernel has replied by the time the call returns: nothing is waited for here.
    for (let reply = this.#received(what); reply; reply = this.#received(what)) {
      for (const message of messagesOf(what, reply)) {
        if (message.type !== NLMSG_ERROR || message.sequence <= before) continue;
        refusal ||= errnoOfReply(message);
        due.delete(message.sequence);
      }
    }
    if (refusal !== 0) throw refused(what, refusal);
    if (due.size > 0) throw new CrispError('Internal', `${what}: the kernel has acknowledged only a part`);
  }

  /** All entries of a dump, as of one time: see `Netlink.request`. */
  async dump(what: string, type: number, body: Uint8Array): Promise<NetlinkMessage[]> {
    for (let tries = 1; ; tries++) {
      const replies = await this.#ask(what, type, NLM_F_DUMP, body);
      if (!mustRetry(what, replies, tries)) return replies.messages;
    }
  }

  /** The answer to a request that is no dump. Throws its refusal. */
  async get(what: string, type: number, body: Uint8Array): Promise<NetlinkMessage[]> {
    return (await this.#ask(what, type, NLM_F_ACK, body)).messages;
  }

  async #ask(what: string, type: number, flags: number, body: Uint8Array): Promise<DumpReplies> {
    const sequence = ++this.#sequence;
    const replies = new DumpReplies();
    await this.#send(what, encodeRequest(type, flags, sequence, body));
    for (;;) {
      const received = await asynchronous(receiveBytes, this.#fd, this.#buffer, RECEIVE, MSG_TRUNC);
      const datagram = completeDatagram(what, this.#buffer, checkOutcome(received, what));
      if (replies.take(what, datagram, sequence)) return replies;
    }
  }

  async #send(what: string, bytes: Buffer): Promise<void> {
    const sent = checkOutcome(await asynchronous(sendBytes, this.#fd, bytes, bytes.length, 0), what);
    if (sent !== bytes.length)
      throw new CrispError('Internal', `${what}: ${sent} bytes sent of ${bytes.length}`);
  }

  /** undefined: there is nothing more. */
  #received(what: string): Buffer | undefined {
    const length = receiveBytes(this.#fd, this.#buffer, RECEIVE, MSG_DONTWAIT | MSG_TRUNC);
    if (length >= 0) return completeDatagram(what, this.#buffer, length);
    const errno = errnoName(lastErrno());
    if (errno === 'EAGAIN') return undefined;
    throw refused(what, errno);
  }

  /** Off this thread: at the end of a socket the packet filter waits for what was deleted before, up to 20 ms. */
  [Symbol.dispose](): void {
    close(this.#fd, () => {});
  }
}
