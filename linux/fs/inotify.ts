/**
 * Watches of files and directories. inotify reports a change at once, but its instances and watches are counted per
 * user, and root's are shared by all that runs on the node: 128 instances are the default of many distributions. So no
 * caller depends on a watch: each of them also polls, and more often while it has no watch.
 */
import { readFileSync, watch } from 'node:fs';
import { errnoOf } from '#core/errors.ts';
import { fromNode } from '../libc/errno.ts';
import type { FileWatch, Inotify } from '../ports/inotify.ts';
import type { KernelLog } from '../ports/log.ts';
import type { Trouble } from '../ports/troubles.ts';

/** Milliseconds between two warnings about inotify. */
const WARN_AGAIN_MS = 600_000;

type Limit = 'instances' | 'watches' | 'files' | 'memory';

export class RealInotify implements Inotify {
  readonly #log: KernelLog;
  /** What is polled for want of a watch, by the watcher's name. */
  readonly #without = new Map<string, Limit>();
  #warned = Number.NEGATIVE_INFINITY;

  constructor(log: KernelLog) {
    this.#log = log;
  }

  watch(
    name: string,
    path: string,
    onChange: (event: 'rename' | 'change', entry: string | null) => void,
  ): FileWatch | undefined {
    try {
      const watcher = watch(path, { persistent: false }, onChange);
      let ended = false;
      watcher.on('error', () => {
        ended = true;
        watcher.close();
        onChange('rename', null);
      });
      this.#without.delete(name);
      return {
        get ended() {
          return ended;
        },
        [Symbol.dispose]: () => watcher.close(),
      };
    } catch (error) {
      const limit = limitOf(error);
      if (!limit) throw fromNode(error, `watch ${path}`);
      this.#without.set(name, limit);
      this.#warn();
      return undefined;
    }
  }

  forget(name: string): void {
    this.#without.delete(name);
  }

  get trouble(): Trouble | undefined {
    const [limit] = this.#without.values();
    if (!limit) return undefined;
    const message = `inotify cannot be used: ${texts[limit].met()}; ends of containers and CNI configurations are polled`;
    return { reason: 'InotifyExhausted', message, hint: texts[limit].hint, podsFail: false };
  }

  #warn(): void {
    const now = performance.now();
    if (now - this.#warned < WARN_AGAIN_MS) return;
    this.#warned = now;
    const { message, hint } = this.trouble ?? {};
    this.#log.warn({ error: message, hint }, 'no inotify: crisp polls');
  }
}

/** The limit that was met; undefined where it is something else. inotify_init1(2), inotify_add_watch(2). */
function limitOf(error: unknown): Limit | undefined {
  const errno = errnoOf(error);
  if (errno === 'ENOSPC') return 'watches';
  if (errno === 'ENOMEM') return 'memory';
  if (errno === 'ENFILE') return 'files';
  // EMFILE means the user's instances as well as the process's descriptors: with one left it was the instances.
  if (errno === 'EMFILE') return setting('instances') === undefined ? 'files' : 'instances';
  return undefined;
}

function setting(name: 'instances' | 'watches'): string | undefined {
  try {
    return readFileSync(`/proc/sys/fs/inotify/max_user_${name}`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

const sysctlText = (name: 'instances' | 'watches', enough: number) => ({
  met: () => `fs.inotify.max_user_${name} = ${setting(name) ?? 'unknown'} is used up`,
  hint: `raise it: sysctl -w fs.inotify.max_user_${name}=${enough}, and in a file of /etc/sysctl.d for the next boot`,
});

const texts = {
  instances: sysctlText('instances', 8192),
  watches: sysctlText('watches', 524_288),
  files: {
    met: () => 'no file descriptor is left',
    hint: 'raise the limit of open files of the daemon (LimitNOFILE), or fs.file-max of the node',
  },
  memory: {
    met: () => 'the kernel has no memory for it',
    hint: 'see the kernel log; free memory of the node',
  },
} as const satisfies Record<Limit, { met: () => string; hint: string }>;
