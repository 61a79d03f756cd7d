/**
 * Moves of processes between cgroups are made under a lock that every fork and exit takes as a reader. It costs readers
 * nothing, and its first writer a grace period of RCU, 5 to 13 ms; a writer within the next one pays nothing. OCI runtimes
 * move what they start, so crisp takes the lock earlier, in parallel with other work: it moves itself to its own cgroup,
 * which changes nothing.
 */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Shorter than any grace period: the lock is never released in between. */
const INTERVAL_MS = 4;

export class TaskMigration {
  readonly #root: string;
  readonly #controller: string;
  #until = 0;
  #running = false;

  /** `root` is where a hierarchy is mounted, `controller` one of it on version 1 and empty on 2. */
  constructor(root: string, controller: string) {
    this.#root = root;
    this.#controller = controller;
  }

  /** Keeps the lock warm for so many milliseconds from now, on libuv's pool. Failures are ignored. */
  expect(forMs: number): void {
    this.#until = Math.max(this.#until, performance.now() + forMs);
    // Read anew: on v2 the daemon may have been moved into a leaf since.
    const file = this.#running ? undefined : ownGroup(this.#root, this.#controller);
    if (file !== undefined) void this.#keepWarm(file);
  }

  async #keepWarm(file: string): Promise<void> {
    this.#running = true;
    try {
      while (performance.now() < this.#until) {
        await writeFile(file, `${process.pid}`, { flag: 'r+' });
        await sleep(INTERVAL_MS, undefined, { ref: false });
      }
    } catch {
      this.#until = 0; // a group that is gone, or not writable for the daemon
    } finally {
      this.#running = false;
    }
  }
}

/** The control file of the daemon's own group; undefined where the group is outside of the mounted hierarchy. */
function ownGroup(root: string, controller: string): string | undefined {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').split('\n');
  for (const line of lines) {
    const [, controllers = '', ...path] = line.split(':');
    if (!controllers.split(',').includes(controller)) continue;
    return path.join(':').startsWith('/..') ? undefined : join(root, path.join(':'), 'cgroup.procs');
  }
  return undefined;
}
