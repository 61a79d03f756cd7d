/**
 * The directory of CNI configurations. The first file by name decides, or the first few where pods are attached to several
 * networks, or the one that has the pinned network. A broken one is an error and not skipped, for that would put pods on another
 * network than the administrator meant.
 */
import { basename } from 'node:path';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import { type Log, withDeadline } from '#core/operation.ts';
import type { FileWatch, Inotify } from '#linux/ports/inotify.ts';
import { type ConfFile, listConfFiles, readConfFile } from './conf-files.ts';
import { type NetworkConfig, parseNetworkConfig } from './conflist.ts';

export interface NetworkStatus {
  readonly ready: boolean;
  /** Empty when ready, else `NetworkPluginNotReady`. */
  readonly reason: string;
  readonly message: string;
}

/** Limit of one read, in milliseconds. */
const READ_LIMIT_MS = 10_000;
/** How old a read may be although there is a watch, in ms: the kernel drops events when its queue is full. */
const POLL_MS = 10_000;

type State = { readonly configs: readonly NetworkConfig[] } | { readonly error: CrispError };

const NONE: readonly NetworkConfig[] = [];

export class ConfDirectory {
  readonly #directory: string;
  readonly #network: string;
  readonly #max: number;
  readonly #log: Log;
  #state: State;
  /** The files that the last read skipped. */
  #skipped = '';
  /** Of the files that were parsed last. */
  #stamp = '';
  readonly #inotify: Pick<Inotify, 'watch'>;
  readonly #onLoaded: () => void;
  #watcher: FileWatch | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;
  /** The read after the running one, for all calls that came meanwhile. */
  #next: Promise<void> | undefined;
  #closed = false;

  /**
   * `network`: the name of the one that counts; empty: the first by file name, and as many more as `max` says, 0 for all.
   * `onLoaded`: called with each new configuration.
   */
  constructor(
    directory: string,
    log: Log,
    inotify: Pick<Inotify, 'watch'>,
    network = '',
    onLoaded = () => {},
    max = 1,
  ) {
    this.#max = max;
    this.#onLoaded = onLoaded;
    this.#network = network;
    this.#directory = directory;
    this.#inotify = inotify;
    this.#log = log;
    this.#state = { error: this.#missing() };
  }

  /** The state after the last read; where that is too old, or there is no watch, a new one begins in the background. */
  status(): NetworkStatus {
    if (!this.#watcher || performance.now() - this.#readAt > POLL_MS) void this.refresh();
    if ('configs' in this.#state) return { ready: true, reason: '', message: '' };
    const { message, hint } = this.#state.error;
    return { ready: false, reason: 'NetworkPluginNotReady', message: `${message}; ${hint}` };
  }

  /** The configurations of the last read: the same list until their files change. Empty where they cannot be used. */
  get loaded(): readonly NetworkConfig[] {
    return 'configs' in this.#state ? this.#state.configs : NONE;
  }

  /** The current configurations, at least one, the first for eth0. Throws NetworkFailed where they cannot be used. */
  async all(): Promise<readonly NetworkConfig[]> {
    await this.refresh();
    if ('error' in this.#state) throw this.#state.error;
    return this.#state.configs;
  }

  /** The first of them. Throws as they do. */
  async current(): Promise<NetworkConfig> {
    const [first] = await this.all();
    if (!first) throw this.#missing();
    return first;
  }

  /** Reads again, after any read that runs already: that one may have read before the change. Never throws. */
  refresh(): Promise<void> {
    if (this.#next) return this.#next;
    if (!this.#reading) return this.#startRead();
    this.#next = this.#reading.then(() => {
      this.#next = undefined;
      return this.#startRead();
    });
    return this.#next;
  }

  close(): void {
    this.#closed = true;
    this.#watcher?.[Symbol.dispose]();
    this.#watcher = undefined;
  }

  #startRead(): Promise<void> {
    this.#reading = this.#readWithin().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /** A file system that does not respond is reported as any other error. */
  async #readWithin(): Promise<void> {
    this.#watch();
    this.#readAt = performance.now();
    try {
      await withDeadline('read the CNI configuration', READ_LIMIT_MS, new AbortController().signal, () =>
        this.#read(),
      );
    } catch (error) {
      this.#setState('', { error: this.#failure(error) });
    }
  }

  /** Parses only what has changed. */
  async #read(): Promise<void> {
    const { files, skipped } = await listConfFiles(this.#directory, this.#network === '' ? this.#max : 0);
    this.#logSkipped(skipped);
    if (files.length === 0) return this.#setState('', { error: this.#missing() });
    const stamp = files.map((file) => file.stamp).join('\n');
    if (stamp === this.#stamp) return;
    this.#setState(stamp, {
      configs: this.#network === '' ? await this.#inOrder(files) : [await this.#named(files)],
    });
  }

  async #inOrder(files: readonly ConfFile[]): Promise<NetworkConfig[]> {
    const configs: NetworkConfig[] = [];
    for (const file of files) {
      const config = await parsed(file);
      const same = configs.find(({ name }) => name === config.name);
      if (same)
        throw new CrispError(
          'NetworkFailed',
          `CNI configurations ${same.source} and ${config.source} both have the name ${config.name}`,
          { hint: 'a pod joins a network once: rename or remove one, or lower cni.max_networks' },
        );
      configs.push(config);
    }
    return configs;
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

  #logSkipped(skipped: readonly string[]): void {
    const text = skipped.join('; ');
    if (text === this.#skipped) return;
    this.#skipped = text;
    if (text !== '')
      this.#log.warn(
        { directory: this.#directory, skipped },
        'skipped files that are not CNI configurations',
      );
  }

  #setState(stamp: string, state: State): void {
    const before = 'error' in this.#state ? this.#state.error.message : '';
    this.#stamp = stamp;
    this.#state = state;
    if ('configs' in state) {
      for (const { name, source } of state.configs)
        this.#log.info({ network: name, file: source }, 'CNI configuration loaded');
      this.#onLoaded();
    } else if (before !== state.error.message) {
      this.#log.warn({ error: state.error.message, hint: state.error.hint }, 'no pod network');
    }
  }

  /** A directory that is missing, or was replaced, is watched once a later read finds it. */
  #watch(): void {
    if (this.#watcher || this.#closed) return;
    try {
      this.#watcher = this.#inotify.watch('CNI configurations', this.#directory, (event) => {
        // A rename may be the directory's own: the watch would stay with the old one.
        if (event === 'rename') this.#unwatch();
        void this.refresh();
      });
    } catch {
      // Missing: `#readWithin` reports it.
    }
  }

  #unwatch(): void {
    this.#watcher?.[Symbol.dispose]();
    this.#watcher = undefined;
  }

  #missing(): CrispError {
    const skipped = this.#skipped === '' ? '' : ` (skipped: ${this.#skipped})`;
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

const parsed = async (file: ConfFile): Promise<NetworkConfig> =>
  parseNetworkConfig(file.path, await readConfFile(file));
