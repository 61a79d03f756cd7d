import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { errnoOf } from '#core/errors.ts';
import { KeyedQueue } from '#core/single-flight.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { DirectorySync } from './directory-sync.ts';
import type { Staging } from './staging.ts';

const LAYER = /^(diff|chain|artifact)-/;

/** The names of layers' directories: each change is one rename, and those of one name never overlap. */
export class LayerDirectories {
  readonly #directory: string;
  readonly #staging: Staging;
  readonly #files: Files;
  readonly #queue = new KeyedQueue<string>();
  readonly #sync: DirectorySync;
  /** Those whose records only this daemon cannot read: of a newer crisp. */
  readonly #intact = new Set<string>();

  constructor(directory: string, staging: Staging, files: Files) {
    this.#directory = directory;
    this.#staging = staging;
    this.#files = files;
    this.#sync = new DirectorySync(directory, files);
  }

  path(key: string, ...names: readonly string[]): string {
    return join(this.#directory, key, ...names);
  }

  /** What has this name is no layer that can be used, and yet not to be deleted. */
  keep(key: string): void {
    this.#intact.add(key);
  }

  /** Runs `act` when all changes of this name that were begun before are done. */
  inTurn<T>(key: string, act: () => Promise<T>): Promise<T> {
    return this.#queue.run(key, act);
  }

  /** Gives a staged directory its name, in its turn. What has the name is no layer, and gives way. */
  async place(path: string, key: string): Promise<void> {
    try {
      await this.#give(path, key);
    } catch (error) {
      if (!['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) throw error;
      if (this.#intact.delete(key)) await this.#setAside(key);
      else await this.#staging.remove(await this.#takeAway(key));
      await this.#give(path, key);
    }
  }

  /**
   * Gives a staged directory the name of a damaged layer, in its turn, and quarantines that; the path where it now is. Only
   * where the file system cannot exchange names is the layer missing in between: a start then hides its images until they are
   * pulled again.
   */
  async replace(path: string, key: string): Promise<string | undefined> {
    const aside = await this.#exchange(path, key);
    if (aside !== undefined) return aside;
    const old = await this.#setAside(key);
    try {
      await this.place(path, key);
    } catch (error) {
      if (old !== undefined) await this.#give(old, key);
      throw error;
    }
    return old;
  }

  /** All names that have been given outlive a power cut. */
  sync(): Promise<void> {
    return this.#sync.sync();
  }

  /**
   * Renames the directory away, then deletes its files. Missing is success. The new name is unique, so that
   * a layer that is created, removed and created again never collides with its leftovers. `release` is called in between.
   */
  async remove(key: string, isTree: boolean, release: () => Promise<void>): Promise<void> {
    const path = await this.#queue.run(key, () => this.#takeAway(key));
    try {
      await release();
    } finally {
      await this.#staging.remove(path, { isTree });
    }
  }

  /**
   * Renames a directory that is not a valid layer, so that a new layer can have its name, and keeps its files: they may be
   * the root of a running container. A later start finds it again by its new name, which this returns; missing is success.
   */
  async quarantine(key: string): Promise<string | undefined> {
    return LAYER.test(key) ? this.#queue.run(key, () => this.#setAside(key)) : undefined;
  }

  /** Where what had the name now is; undefined, with nothing changed, where it is missing or names cannot be exchanged. */
  async #exchange(path: string, key: string): Promise<string | undefined> {
    // Under its later name first: in staging, the next start would delete what a container may still have as its root.
    const aside = this.#asideOf();
    await naming(`store layer ${key}`, () => this.#files.rename(path, aside));
    let isExchanged = false;
    try {
      isExchanged = await this.#files.exchange(aside, this.path(key));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    } finally {
      if (!isExchanged) await naming(`stage layer ${key}`, () => this.#files.rename(aside, path));
    }
    return isExchanged ? aside : undefined;
  }

  #asideOf(): string {
    return this.path(`damaged-${randomBytes(8).toString('hex')}`);
  }

  #give(path: string, key: string): Promise<void> {
    return naming(`store layer ${key}`, () => this.#files.rename(path, this.path(key)));
  }

  async #setAside(key: string): Promise<string | undefined> {
    const target = this.#asideOf();
    try {
      await naming(`quarantine layer ${key}`, () => this.#files.rename(this.path(key), target));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    return target;
  }

  /** The path where the directory now is; missing is success. */
  async #takeAway(key: string): Promise<string> {
    const target = this.#staging.path('layer');
    try {
      await naming(`remove layer ${key}`, () => this.#files.rename(this.path(key), target));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    return target;
  }
}
