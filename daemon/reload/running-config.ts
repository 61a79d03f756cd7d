import {
  type Config,
  type ConfigChange,
  type ConfigChanges,
  changesOf,
  type LoadedConfig,
} from '#config/index.ts';

/** The configuration in effect, and what has become of the last reload. */
export class RunningConfig {
  #loaded: LoadedConfig;
  #readAt = new Date();
  #restartNeeded: readonly ConfigChange[] = [];
  #refused: string | undefined;

  /** `config`: with its directories resolved; see `openDirectories`. */
  constructor(loaded: LoadedConfig, config: Config) {
    this.#loaded = { ...loaded, config };
  }

  get loaded(): LoadedConfig {
    return this.#loaded;
  }

  /** When it was read. */
  get readAt(): Date {
    return this.#readAt;
  }

  /** What of the files needs a restart. */
  get restartNeeded(): readonly ConfigChange[] {
    return this.#restartNeeded;
  }

  /** Why the last reload was refused; undefined where it was not. */
  get refused(): string | undefined {
    return this.#refused;
  }

  changes(next: LoadedConfig): ConfigChanges {
    const { root, state } = this.#loaded.config;
    const { effective, ...changes } = changesOf(this.#loaded, next);
    return { ...changes, effective: { ...effective, config: { ...effective.config, root, state } } };
  }

  takeOver({ effective, restartNeeded }: ConfigChanges): void {
    this.#loaded = effective;
    this.#restartNeeded = restartNeeded;
    this.#readAt = new Date();
    this.#refused = undefined;
  }

  refuse(why: string): void {
    this.#refused = why;
  }
}

/** `image.layers (/etc/crisp/crisp.toml:3), root (not set any more)`. */
export const changesText = (changes: readonly ConfigChange[]): string =>
  changes.map(({ key, origin }) => `${key} (${origin ?? 'not set any more'})`).join(', ');
