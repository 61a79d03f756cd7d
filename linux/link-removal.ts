/**
 * Deletes links. The kernel takes a link and its peer out of their namespaces within a millisecond, but returns from the
 * call only when nobody can be reading of them any more, some 15 ms later. Whoever wants the link gone need not wait
 * for that: it goes on in libuv's pool.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '#core/errors.ts';
import { linkDeletion } from './link-socket.ts';
import { WaitingNetlink } from './waiting-netlink.ts';

/** How many of the pool's threads may stand in such a wait: the others are for files. */
const AT_ONCE = Math.ceil(Number(process.env['UV_THREADPOOL_SIZE'] ?? 4) / 2) || 2;
/** Milliseconds between looks at a link whose deletion has not begun. */
const LOOK_AGAIN = 1;

export interface Removable {
  readonly index: number;
  /** Of netlink, in the link's namespace. */
  readonly socket: number;
}

export class LinkRemoval {
  readonly #underWay = new Set<Promise<unknown>>();

  /** Resolves when the link is gone, which `isThere` tells; one that was gone before is success. Owns the socket. */
  async remove(link: Removable, isThere: () => Promise<boolean>): Promise<void> {
    while (this.#underWay.size >= AT_ONCE) await Promise.race(this.#underWay);
    let over = false;
    const deletion = this.#delete(link).finally(() => {
      over = true;
      this.#underWay.delete(settled);
    });
    const settled = deletion.catch(() => {});
    this.#underWay.add(settled);
    while (!over) {
      if (!(await isThere())) return;
      await sleep(LOOK_AGAIN);
    }
    await deletion;
  }

  async #delete({ index, socket }: Removable): Promise<void> {
    using netlink = new WaitingNetlink(socket);
    try {
      await netlink.send(`delete link ${index}`, [linkDeletion(index)]);
    } catch (error) {
      if (errnoOf(error) !== 'ENODEV') throw error;
    }
  }
}
