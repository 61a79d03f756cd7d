/**
 * Deletes links. The kernel takes a link and its peer out of their namespaces within a millisecond, but returns from the
 * call only when no reader can see them any more, some 15 ms later. The caller need not wait for that: it goes on in
 * libuv's pool.
 */
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, errnoOf } from '#core/errors.ts';
import { AsyncNetlink } from './async-netlink.ts';
import { linkDeletion } from './rtnetlink.ts';

/** How many of the pool's threads may wait so: the others are for files, see bin/crisp. */
const AT_ONCE = Math.min(4, Math.ceil(Number(process.env['UV_THREADPOOL_SIZE'] ?? 4) / 2) || 2);
/** Milliseconds after which a removal is given up: the kernel is stuck, and with it a thread of the pool. */
const LIMIT_MS = 30_000;
/** Milliseconds between polls of a link whose deletion has not begun. */
const POLL_MS = 1;

export interface Removable {
  readonly index: number;
  /** Of netlink, in the link's namespace. */
  readonly socket: number;
}

export class LinkRemoval {
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #limitMs: number;

  constructor(limitMs = LIMIT_MS) {
    this.#limitMs = limitMs;
  }

  /**
   * Resolves when the link is gone (`isThere`); one that was gone before is success. Owns the socket. Throws
   * DeadlineExceeded where the kernel does not delete it, or earlier ones.
   */
  async remove(link: Removable, isThere: () => Promise<boolean>): Promise<void> {
    const until = performance.now() + this.#limitMs;
    await this.#turn(link, until);
    let over = false;
    const deletion = this.#delete(link).finally(() => {
      over = true;
      this.#underWay.delete(settled);
    });
    const settled = deletion.catch(() => {});
    this.#underWay.add(settled);
    while (!over) {
      if (!(await isThere())) return;
      if (performance.now() > until) throw stuck(link, this.#limitMs, 'its own deletion');
      await sleep(POLL_MS);
    }
    await deletion;
  }

  /** At most `AT_ONCE` wait in the pool. */
  async #turn(link: Removable, until: number): Promise<void> {
    while (this.#underWay.size >= AT_ONCE) {
      const over = new AbortController();
      const timer = sleep(Math.max(0, until - performance.now()), undefined, { signal: over.signal });
      await Promise.race([...this.#underWay, timer.catch(() => {})]);
      over.abort();
      if (this.#underWay.size < AT_ONCE || performance.now() < until) continue;
      closeSync(link.socket);
      throw stuck(link, this.#limitMs, `${this.#underWay.size} deletions before it`);
    }
  }

  async #delete({ index, socket }: Removable): Promise<void> {
    using netlink = new AsyncNetlink(socket);
    try {
      await netlink.send(`delete link ${index}`, [linkDeletion(index)]);
    } catch (error) {
      if (errnoOf(error) !== 'ENODEV') throw error;
    }
  }
}

const stuck = ({ index }: Removable, ms: number, what: string): CrispError =>
  new CrispError(
    'DeadlineExceeded',
    `delete link ${index}: the kernel has not ended ${what} after ${ms / 1000} s`,
    {
      hint: 'see the kernel log: a driver, or a process that holds a network namespace, keeps the lock of links',
    },
  );
