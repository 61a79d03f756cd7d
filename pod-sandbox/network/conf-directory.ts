/**
 * The directory of CNI configurations. The first file by name with a known ending decides; a broken one is not passed
 * over for the next, for that would put pods on another network than the administrator meant.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { FileWatch, Inotify } from '#linux/inotify.ts';
import { type NetworkConfig, parseNetworkConfig } from './conflist.ts';

export interface NetworkStatus {
  readonly ready: boolean;
  /** Empty when ready; `NetworkPluginNotReady` else: a word for machines. */
  readonly reason: string;
  readonly message: string;
}

const ENDINGS = ['.conflist', '.conf', '.json'];
/** Bytes. No real configuration comes near. */
const MAX_SIZE = 1024 * 1024;
/** The longest trust in a watch, in ms: the kernel drops events that it has no room for. */
const TRUST_MS = 10_000;

type State = { readonly config: NetworkConfig } | { readonly error: CrispError };

export class ConfDirectory {
  readonly #directory: string;
  readonly #log: Log;
  #state: State;
  /** Name, inode, size and time of the file that was parsed last. */
  #stamp = '';
  readonly #inotify: Pick<Inotify, 'watch'>;
  #watcher: FileWatch | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;
  /** The look that all wait for who came during the running one. */
  #next: Promise<void> | undefined;
  #closed = false;

  constructor(directory: string, log: Log, inotify: Pick<Inotify, 'watch'>) {
    this.#directory = directory;
    this.#inotify = inotify;
    this.#log = log;
    this.#state = { error: this.#missing() };
  }

  /** The state after the last look; where no watch has told of changes lately, a new look begins in the background. */
  status(): NetworkStatus {
    if (!this.#watcher || performance.now() - this.#lookedAt > TRUST_MS) void this.refresh();
    if ('config' in this.#state) return { ready: true, reason: '', message: '' };
    const { message, hint } = this.#state.error;
    return { ready: false, reason: 'NetworkPluginNotReady', message: `${message}; ${hint}` };
  }

  /** Today's configuration. Throws NetworkFailed where there is none that can be used. */
  async current(): Promise<NetworkConfig> {
    await this.refresh();
    if ('error' in this.#state) throw this.#state.error;
    return this.#state.config;
  }

  /** Looks again, after any look that runs already: that one may have read before the change. Never throws. */
  refresh(): Promise<void> {
    if (this.#next) return this.#next;
    if (!this.#looking) return this.#begin();
    this.#next = this.#looking.then(() => {
      this.#next = undefined;
      return this.#begin();
    });
    return this.#next;
  }

  close(): void {
    this.#closed = true;
    this.#watcher?.[Symbol.dispose]();
    this.#watcher = undefined;
  }

  #begin(): Promise<void> {
    this.#looking = this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** Parses only what has changed. */
  async #look(): Promise<void> {
    this.#watch();
    this.#lookedAt = performance.now();
    try {
      const names = (await readdir(this.#directory)).filter((name) =>
        ENDINGS.some((end) => name.endsWith(end)),
      );
      const first = names.sort()[0];
      if (first === undefined) return this.#take('', { error: this.#missing() });
      const path = join(this.#directory, first);
      const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
      const stamp = [first, ino, size, mtimeNs, ctimeNs].join(' ');
      if (stamp === this.#stamp) return;
      if (size > MAX_SIZE)
        throw new CrispError('NetworkFailed', `CNI configuration ${path} has ${size} bytes`);
      this.#take(stamp, { config: parseNetworkConfig(path, await readFile(path, 'utf8')) });
    } catch (error) {
      this.#take('', { error: this.#failure(error) });
    }
  }

  #take(stamp: string, state: State): void {
    const before = 'error' in this.#state ? this.#state.error.message : this.#state.config.name;
    this.#stamp = stamp;
    this.#state = state;
    if ('config' in state) {
      this.#log.info({ network: state.config.name, file: state.config.source }, 'CNI configuration loaded');
    } else if (before !== state.error.message) {
      this.#log.warn({ error: state.error.message, hint: state.error.hint }, 'no pod network');
    }
  }

  /** A directory that is missing, or was replaced, is watched once a later look finds it. */
  #watch(): void {
    if (this.#watcher || this.#closed) return;
    try {
      this.#watcher = this.#inotify.watch('CNI configurations', this.#directory, (event) => {
        // A rename may be the directory's own: the watch would stay with the old one.
        if (event === 'rename') this.#unwatch();
        void this.refresh();
      });
    } catch {
      // Missing: `#look` says so.
    }
  }

  #unwatch(): void {
    this.#watcher?.[Symbol.dispose]();
    this.#watcher = undefined;
  }

  #missing(): CrispError {
    return new CrispError('NetworkFailed', `no CNI configuration in ${this.#directory}`, {
      hint: 'install a network add-on, or put a .conflist there',
    });
  }

  #failure(error: unknown): CrispError {
    if (error instanceof CrispError) return error;
    if (errnoOf(error) === 'ENOENT') return this.#missing();
    const message = `CNI configuration in ${this.#directory} cannot be read: ${describeError(error)}`;
    return new CrispError('NetworkFailed', message, { cause: error });
  }
}
