/**
 * The directory of CNI configurations. The first file by name decides, or the one that has the pinned network. A broken
 * one is not passed over for the next, for that would put pods on another network than the administrator meant.
 */
import { basename } from 'node:path';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import { type Log, withDeadline } from '#core/operation.ts';
import type { FileWatch, Inotify } from '#linux/ports/inotify.ts';
import { type ConfFile, listConfFiles, readConfFile } from './conf-files.ts';
import { type NetworkConfig, parseNetworkConfig } from './conflist.ts';

export interface NetworkStatus {
  readonly ready: boolean;
  /** Empty when ready; `NetworkPluginNotReady` else: a word for machines. */
  readonly reason: string;
  readonly message: string;
}

/** Milliseconds of one look. */
const LOOK_MS = 10_000;
/** The longest trust in a watch, in ms: the kernel drops events that it has no room for. */
const TRUST_MS = 10_000;

type State = { readonly config: NetworkConfig } | { readonly error: CrispError };

export class ConfDirectory {
  readonly #directory: string;
  readonly #network: string;
  readonly #log: Log;
  #state: State;
  /** What was passed over at the last look. */
  #skipped = '';
  /** Of the files that were parsed last. */
  #stamp = '';
  readonly #inotify: Pick<Inotify, 'watch'>;
  #watcher: FileWatch | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;
  /** The look that all wait for who came during the running one. */
  #next: Promise<void> | undefined;
  #closed = false;

  /** `network`: the name of the one that counts; empty: the first by file name. */
  constructor(directory: string, log: Log, inotify: Pick<Inotify, 'watch'>, network = '') {
    this.#network = network;
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

  /** A file system that does not answer is an error like another. */
  async #look(): Promise<void> {
    this.#watch();
    this.#lookedAt = performance.now();
    try {
      await withDeadline('read the CNI configuration', LOOK_MS, new AbortController().signal, () =>
        this.#read(),
      );
    } catch (error) {
      this.#take('', { error: this.#failure(error) });
    }
  }

  /** Parses only what has changed. */
  async #read(): Promise<void> {
    const { files, skipped } = await listConfFiles(this.#directory, this.#network === '');
    this.#skip(skipped);
    if (files.length === 0) return this.#take('', { error: this.#missing() });
    const stamp = files.map((file) => file.stamp).join('\n');
    if (stamp === this.#stamp) return;
    this.#take(stamp, { config: this.#network === '' ? await parsed(files[0]) : await this.#named(files) });
  }

  /** The network that is pinned by its name; files that cannot be read matter only where no other has it. */
  async #named(files: readonly ConfFile[]): Promise<NetworkConfig> {
    const others: string[] = [];
    for (const file of files) {
      try {
        const config = await parsed(file);
        if (config.name === this.#network) return config;
        others.push(`${basename(file.path)} has ${config.name}`);
      } catch (error) {
        others.push(describeError(error));
      }
    }
    const message = `no CNI network ${this.#network} in ${this.#directory}: ${others.join('; ')}`;
    throw new CrispError('NetworkFailed', message, { hint: 'see cni.network, and the names in the files' });
  }

  #skip(skipped: readonly string[]): void {
    const text = skipped.join('; ');
    if (text === this.#skipped) return;
    this.#skipped = text;
    if (text !== '')
      this.#log.warn({ directory: this.#directory, skipped }, 'no CNI configurations: passed over');
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
    const skipped = this.#skipped === '' ? '' : ` (passed over: ${this.#skipped})`;
    return new CrispError('NetworkFailed', `no CNI configuration in ${this.#directory}${skipped}`, {
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

async function parsed(file: ConfFile | undefined): Promise<NetworkConfig> {
  if (!file) throw new CrispError('Internal', 'no CNI configuration to be read');
  return parseNetworkConfig(file.path, await readConfFile(file));
}
