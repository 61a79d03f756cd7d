/**
 * The replies to one netlink request (netlink(7)). A dump comes in several datagrams, between which other processes may
 * change what is listed: the kernel then sets NLM_F_DUMP_INTR, and entries may be missing or duplicate. Callers that rely
 * on missing entries must retry.
 */
import { CrispError } from '#core/errors.ts';
import { refused } from '../libc/errno.ts';
import { errnoOfReply, messagesOf, type NetlinkMessage, NLMSG_DONE, NLMSG_ERROR } from './netlink-message.ts';

const NLMSG_OVERRUN = 4;
const NLM_F_DUMP_INTR = 0x10;
/** Dumps take well below a millisecond: so many in a row are interrupted only by an endless stream of changes. */
const MAX_TRIES = 50;

/** The replies so far. */
export class DumpReplies {
  readonly messages: NetlinkMessage[] = [];
  /** Whether what was listed changed meanwhile. */
  interrupted = false;

  /** Takes the messages of one datagram; true at the end of the answer. Throws the kernel's refusal. */
  take(what: string, datagram: Buffer, sequence: number): boolean {
    for (const message of messagesOf(what, datagram)) {
      if (message.type === NLMSG_OVERRUN)
        throw refused(what, 'ENOBUFS', 'the kernel has lost a part of its reply');
      if (message.sequence !== sequence) continue;
      if (message.flags & NLM_F_DUMP_INTR) this.interrupted = true;
      if (message.type === NLMSG_DONE) {
        checkDone(what, message);
        return true;
      }
      if (message.type !== NLMSG_ERROR) this.messages.push(message);
      else if (errnoOfReply(message) === 0) return true;
      else throw refused(what, errnoOfReply(message));
    }
    return false;
  }
}

/** A dump that fails half-way has the errno in its last message; old kernels leave that empty. */
function checkDone(what: string, message: NetlinkMessage): void {
  if (message.body.length < 4) return;
  const errno = errnoOfReply(message);
  if (errno > 0) throw refused(what, errno);
}

/** The datagram that was received. Throws where it did not fit, for the rest of it is lost. `length` by MSG_TRUNC. */
export function completeDatagram(what: string, buffer: Buffer, length: number): Buffer {
  if (length <= buffer.length) return buffer.subarray(0, length);
  throw new CrispError('Internal', `${what}: a reply of ${length} bytes was cut at ${buffer.length}`);
}

/** Whether an interrupted dump is to be requested again. Throws Aborted after MAX_TRIES. */
export function mustRetry(what: string, replies: DumpReplies, tries: number): boolean {
  if (!replies.interrupted) return false;
  if (tries < MAX_TRIES) return true;
  throw new CrispError('Aborted', `${what}: the list has changed during each of ${tries} dumps`, {
    hint: 'try again; see which program changes the links, addresses or rules of this node continuously',
  });
}
