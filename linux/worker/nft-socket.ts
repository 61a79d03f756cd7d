/** The daemon's changes of nf_tables in the node's own network namespace: one after another, off the main thread. */
import { CrispError } from '#core/errors.ts';
import { within } from '../libc/abort.ts';
import { AsyncNetlink } from '../net/async-netlink.ts';
import { allowRequests, NETLINK_NETFILTER, openNetlink } from '../net/netlink.ts';

/** Changes of the packet filter take milliseconds; past this many the kernel is stuck, and with it a thread of the pool. */
const LIMIT_MS = 30_000;
const STUCK_HINT = 'see the kernel log, and which other programs change the packet filter of this node';

/** A change is one request: that of a pod with thousands of host ports. */
const MAX_REQUEST = 16 << 20;

function open(): AsyncNetlink {
  const socket = openNetlink(NETLINK_NETFILTER);
  allowRequests(socket, MAX_REQUEST);
  return new AsyncNetlink(socket);
}

/** One lasting socket: to close one after a deletion takes longer than all the rest. */
export class NftSocket implements Disposable {
  /** In the node's own namespace, as the main thread. */
  #netlink: AsyncNetlink | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  /** Whether a change has not returned since its deadline: it keeps its socket, and no other is tried beside it. */
  #stuck = false;

  /** When the earlier ones have ended. Throws Unavailable or DeadlineExceeded where the kernel does not return. */
  use<T>(act: (netlink: AsyncNetlink) => Promise<T>): Promise<T> {
    const turn = this.#tail.then(async () => {
      if (this.#stuck) {
        throw new CrispError(
          'Unavailable',
          'nf_tables: the kernel has still not returned from an earlier change',
          { hint: STUCK_HINT },
        );
      }
      const netlink = this.#netlink ?? open();
      this.#netlink = netlink;
      const running = act(netlink);
      try {
        return await within(LIMIT_MS, running, () => {
          this.#stuck = true;
          return new CrispError(
            'DeadlineExceeded',
            `nf_tables: the kernel has not returned after ${LIMIT_MS / 1000} s`,
            { hint: STUCK_HINT },
          );
        });
      } catch (error) {
        this.#giveUp(netlink, running);
        throw error;
      }
    });
    this.#tail = turn.catch(() => {});
    return turn;
  }

  /** A socket is closed only when nothing uses it any more: its number could be reused. */
  #giveUp(netlink: AsyncNetlink, running: Promise<unknown>): void {
    this.#netlink = undefined;
    void running
      .catch(() => {})
      .finally(() => {
        this.#stuck = false;
        netlink[Symbol.dispose]();
      });
  }

  [Symbol.dispose](): void {
    this.#netlink?.[Symbol.dispose]();
    this.#netlink = undefined;
  }
}
