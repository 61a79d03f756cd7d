import { createHash } from 'node:crypto';
import { mkdir, readdir, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, errnoOf, hasCode } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import { KeyedQueue, SingleFlight } from '#core/single-flight.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Mounts } from '#linux/ports/kernel.ts';
import { Semaphore } from '../semaphore.ts';
import { damaged, type LayerForm } from './layer-record.ts';

/** Hex digits of a mount point's name: with 500 of them an overlay's line in mountinfo stays below `LINE_LIMIT`. */
const NAME_DIGITS = 24;

/** Mounts at once: each takes a thread of libuv's pool (eight, bin/crisp), and a dead disk is not to take them all. */
const PARALLEL = 3;

/** A layer's image on the disk. */
export interface ImageFile {
  readonly path: string;
  /** Its size when it was written. */
  readonly bytes: number;
}

interface MountedLayer {
  readonly target: string;
  /** As stat(2) reports it below the mount. */
  readonly device: number;
}

export interface LayerMountsParts {
  readonly mounts: Mounts;
  readonly log: Log;
  /** Holds the mount points, `<name>`; is made. */
  readonly directory: string;
  /** How images are mounted here; where layers are directories, those of before are mounted in whichever way works. */
  readonly form: () => LayerForm;
  /** The SELinux context of their files. */
  readonly context?: string | undefined;
}

/**
 * The mounts of layers that are EROFS images: each once, at its first use, for all containers, so that they share its pages. The
 * mount table is the record of them. A mount point is named after the layer and its very file, so that another
 * file in its place never gets the mount of the former one. All are below a mount of the directory on itself that is unbindable:
 * a container that has the host's /run, or its root, does not keep them mounted.
 */
export class LayerMounts {
  readonly #parts: LayerMountsParts;
  readonly #mounted = new Map<string, MountedLayer>();
  /** By layer: mounts that are to go when nothing holds the layer. */
  readonly #retired = new Map<string, Set<string>>();
  /** By layer: how many hold it. */
  readonly #holds = new Map<string, number>();
  readonly #mounting = new SingleFlight<string, string>();
  readonly #queue = new KeyedQueue<string>();
  readonly #semaphore = new Semaphore(PARALLEL);

  constructor(parts: LayerMountsParts) {
    this.#parts = parts;
  }

  /** Takes over the mounts that an earlier daemon has left for these layers, and unmounts the others. */
  async recover(images: ReadonlyMap<string, ImageFile>): Promise<void> {
    const { mounts, directory } = this.#parts;
    const names = await this.#leftMountPoints();
    if (names.length === 0) return;
    const mounted = new Set(mounts.below(directory).map(({ target }) => target));
    const known = new Map<string, string>();
    const find = async ([key, image]: [string, ImageFile]) => known.set(await this.#target(key, image), key);
    // One that is missing or has changed has no mount point.
    await Promise.allSettled([...images].map(find));
    for (const target of names.map((name) => join(directory, name))) {
      const key = known.get(target);
      if (key !== undefined && mounted.has(target)) await this.#add(key, target);
      else await this.#unmount(target).catch((error) => this.#warn(target, error));
    }
  }

  /**
   * The directory with the layer's files, mounted. DataLoss: the image is missing, or is not the one that was written; else
   * as `Mounts.erofs`. It stays mounted until `release`; no caller's abort ends it.
   */
  ensure(key: string, image: ImageFile): Promise<string> {
    return this.#mounting.run(key, () => this.#queue.run(key, () => this.#ensure(key, image)));
  }

  /**
   * Until the end of the scope no mount of these layers goes, not the one of a file that is replaced or removed either. To be
   * taken before `ensure`, for as long as its directories are used by their paths: one that is just being unmounted would be
   * an empty layer.
   */
  hold(keys: readonly string[]): Disposable {
    for (const key of keys) this.#holds.set(key, (this.#holds.get(key) ?? 0) + 1);
    const left = [...keys];
    return {
      [Symbol.dispose]: () => {
        for (const key of left.splice(0)) this.#leave(key);
      },
    };
  }

  /** Unmounts the layer once nothing holds it; an overlay that has it below keeps the files until it is unmounted itself. */
  release(key: string): Promise<void> {
    return this.#queue.run(key, async () => {
      this.#retire(key);
      await this.#clear(key);
    });
  }

  /** For the daemon's end: unmounts what is not in use and, with the last of all, the mount that holds them. */
  async close(isUsed: (key: string) => boolean): Promise<void> {
    for (const key of this.mounted.filter((key) => !isUsed(key)))
      await this.release(key).catch((error) => this.#warn(key, error));
    const { mounts, directory } = this.#parts;
    if (mounts.below(directory).some(({ target }) => target !== directory)) return;
    await mounts.unmount(directory).catch((error) => this.#warn(directory, error));
  }

  /** The layers that are mounted. */
  get mounted(): readonly string[] {
    return [...new Set([...this.#mounted.keys(), ...this.#retired.keys()])];
  }

  async #ensure(key: string, image: ImageFile): Promise<string> {
    using _permit = await this.#semaphore.acquire();
    const { mounts, directory, log } = this.#parts;
    const target = await this.#target(key, image);
    const known = this.#mounted.get(key);
    // Also a known one is checked: were it unmounted by someone else, an overlay would take the empty directory.
    if (known?.target === target && (await deviceOf(target)) === known.device) return target;
    if (known?.target === target) await this.#unmount(target);
    else this.#retire(key);
    this.#mounted.delete(key);
    await this.#clear(key);
    if (!mounts.below(target).some((mount) => mount.target === target && mount.type === 'erofs')) {
      await this.#queue.run('', () => this.#prepare());
      await naming(`make ${target}`, () => mkdir(target, { recursive: true, mode: 0o700 }));
      try {
        await this.#mount(image.path, target);
      } catch (error) {
        await rmdir(target).catch(() => {});
        if (errnoOf(error) === 'ENOENT') await this.#requireAt(target, key, image);
        throw error;
      }
      log.debug({ layer: key, target: target.slice(directory.length + 1) }, 'layer is mounted');
    }
    await this.#add(key, target);
    return target;
  }

  async #add(key: string, target: string): Promise<void> {
    const device = await deviceOf(target);
    if (device === undefined) return;
    this.#mounted.set(key, { target, device });
    this.#retired.get(key)?.delete(target);
  }

  #leave(key: string): void {
    const holds = (this.#holds.get(key) ?? 1) - 1;
    if (holds > 0) this.#holds.set(key, holds);
    else this.#holds.delete(key);
    if (holds > 0 || !this.#retired.has(key)) return;
    void this.#queue.run(key, () => this.#clear(key)).catch((error) => this.#warn(key, error));
  }

  #retire(key: string): void {
    const known = this.#mounted.get(key);
    if (known === undefined) return;
    this.#mounted.delete(key);
    this.#retired.set(key, (this.#retired.get(key) ?? new Set()).add(known.target));
  }

  /** Unmounts what is to go. What fails is tried again the next time. */
  async #clear(key: string): Promise<void> {
    const retired = this.#retired.get(key);
    for (const target of [...(retired ?? [])]) {
      if (this.#holds.has(key)) return;
      await this.#unmount(target);
      retired?.delete(target);
    }
    this.#retired.delete(key);
  }

  async #mount(image: string, target: string): Promise<void> {
    const { mounts, context } = this.#parts;
    const form = this.#parts.form();
    if (form.form === 'erofs') return mounts.erofs({ image, target, by: form.by, context });
    try {
      await mounts.erofs({ image, target, by: 'file', context });
    } catch (error) {
      if (!hasCode(error, 'FailedPrecondition')) throw error;
      await mounts.erofs({ image, target, by: 'loop', context });
    }
  }

  /** The directory, mounted on itself. Only root may enter it: the files in layers have the owners and modes of the image. */
  async #prepare(): Promise<void> {
    const { mounts, directory } = this.#parts;
    if (mounts.below(directory).some(({ target }) => target === directory)) return;
    await naming(`make ${directory}`, () => mkdir(directory, { recursive: true, mode: 0o700 }));
    await mounts.bind({ source: directory, target: directory, propagation: 'unbindable' });
  }

  /** The mount point of this file of the layer; throws DataLoss where it is not as its record says. */
  async #target(key: string, { path, bytes }: ImageFile): Promise<string> {
    const found = await naming(`stat ${path}`, () => stat(path, { bigint: true })).catch((error) => {
      if (errnoOf(error) === 'ENOENT') throw damaged(`the image of layer ${key} is missing: ${path}`);
      throw error;
    });
    if (found.size !== BigInt(bytes)) {
      throw damaged(`the image of layer ${key} has changed: ${path} has ${found.size} bytes, not ${bytes}`);
    }
    const { dev, ino, mtimeNs } = found;
    const name = createHash('sha256').update([key, dev, ino, mtimeNs].join(' ')).digest('hex');
    return join(this.#parts.directory, name.slice(0, NAME_DIGITS));
  }

  /** Throws DataLoss where the file was removed or replaced between the look at it and the mount. */
  async #requireAt(target: string, key: string, image: ImageFile): Promise<void> {
    if ((await this.#target(key, image)) !== target)
      throw damaged(`the image of layer ${key} was replaced while it was being mounted: ${image.path}`);
  }

  async #unmount(target: string): Promise<void> {
    await this.#parts.mounts.unmount(target);
    await naming(`remove ${target}`, () => rmdir(target)).catch((error) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
  }

  async #leftMountPoints(): Promise<string[]> {
    const { directory } = this.#parts;
    return naming(`list ${directory}`, () => readdir(directory)).catch((error) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
  }

  #warn(what: string, error: unknown): void {
    this.#parts.log.warn({ layer: what, error: describeError(error) }, 'a layer could not be unmounted');
  }
}

async function deviceOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.dev;
}
