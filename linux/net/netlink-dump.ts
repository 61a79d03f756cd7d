/**
 * The answers to one request of netlink (netlink(7)). A dump comes in several datagrams, between which others change what
 * is listed: the kernel marks it then, and it may lack entries or have them twice. Whoever acts upon what is not listed
 * must ask again.
 */
import { CrispError } from '#core/errors.ts';
import { refused } from '../libc/errno.ts';
import { errnoOfReply, messagesOf, type NetlinkMessage, NLMSG_DONE, NLMSG_ERROR } from './netlink-message.ts';

const NLMSG_OVERRUN = 4;
const NLM_F_DUMP_INTR = 0x10;
/** Dumps take well below a millisecond: that often in a row nothing but an endless stream of changes meets them. */
const MAX_TRIES = 50;

/** What has been answered so far. */
export class DumpReplies {
  readonly messages: NetlinkMessage[] = [];
  /** Whether what was listed changed meanwhile. */
  interrupted = false;

  /** Takes the messages of one datagram; true at the end of the answer. Throws the kernel's refusal. */
  take(what: string, datagram: Buffer, sequence: number): boolean {
    for (const message of messagesOf(what, datagram)) {
      if (message.type === NLMSG_OVERRUN)
        throw refused(what, 'ENOBUFS', 'the kernel has lost a part of its answer');
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

/** A dump that fails in its midst says so in the last message; old kernels leave it empty. */
function checkDone(what: string, message: NetlinkMessage): void {
  if (message.body.length < 4) return;
  const errno = errnoOfReply(message);
  if (errno > 0) throw refused(what, errno);
}

/** The datagram that was received. Throws where it did not fit, for the rest of it is lost. `length` by MSG_TRUNC. */
export function completeDatagram(what: string, buffer: Buffer, length: number): Buffer {
  if (length <= buffer.length) return buffer.subarray(0, length);
  throw new CrispError('Internal', `${what}: an answer of ${length} bytes was cut at ${buffer.length}`);
}

/** Whether an interrupted dump is to be asked for once more. Throws Aborted where it was asked for often enough. */
export function mustRetry(what: string, replies: DumpReplies, tries: number): boolean {
  if (!replies.interrupted) return false;
  if (tries < MAX_TRIES) return true;
  throw new CrispError('Aborted', `${what}: what is listed has changed during each of ${tries} readings`, {
    hint: 'try again; see who changes the links, addresses or rules of this node without end',
  });
}
