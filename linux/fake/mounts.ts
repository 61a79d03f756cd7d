import { existsSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { refused } from '../libc/errno.ts';
import { checkErofsImage } from '../mount/erofs-superblock.ts';
import type { MountEntry, Mounts } from '../ports/kernel.ts';

/** Mounts in memory. Targets and sources must exist on the disk, as for the real ones. */
export class FakeMounts implements Mounts {
  #entries: MountEntry[] = [];
  #nextId = 100;

  #add(target: string, type: string, source: string, options: string, tags: readonly string[] = []): void {
    for (const path of [target, ...(type === 'bind' ? [source] : [])]) {
      if (!existsSync(path)) throw refused(`mount ${type} at ${target}: ${path}`, 'ENOENT');
    }
    const id = this.#nextId++;
    this.#entries.push({ id, parent: 1, device: `0:${id}`, root: '/', target, type, source, options, tags });
  }

  async overlay(request: Parameters<Mounts['overlay']>[0]): Promise<void> {
    const { target, lower, upper, work, options = [] } = request;
    if (lower.length === 0)
      throw new CrispError('InvalidArgument', `mount overlay at ${target}: no lower layer`);
    if ((upper === undefined) !== (work === undefined)) {
      throw new CrispError('InvalidArgument', `mount overlay at ${target}: upper and work go together`);
    }
    const missing = lower.find((layer) => !existsSync(layer));
    if (missing) throw refused(`mount overlay at ${target}: layer ${missing}`, 'ENOENT');
    this.#add(target, 'overlay', 'overlay', [upper === undefined ? 'ro' : 'rw', ...options].join(','));
  }

  async bind(request: Parameters<Mounts['bind']>[0]): Promise<void> {
    const shared = request.propagation === 'rshared' ? [`shared:${this.#nextId}`] : [];
    this.#add(request.target, 'bind', request.source, request.readonly ? 'ro' : 'rw', shared);
  }

  /** The image is read from the disk and checked as the real one. */
  async erofs({ image, target, by, context }: Parameters<Mounts['erofs']>[0]): Promise<void> {
    await checkErofsImage(image, `mount erofs ${image} at ${target}`);
    const options = ['ro', ...(context === undefined ? [] : [`context=${context}`])];
    this.#add(target, 'erofs', by === 'file' ? image : `/dev/loop${this.#nextId}`, options.join(','));
  }

  async tmpfs(request: Parameters<Mounts['tmpfs']>[0]): Promise<void> {
    this.#add(request.target, 'tmpfs', 'tmpfs', ['rw', ...(request.options ?? [])].join(','));
  }

  async unmount(target: string): Promise<void> {
    if (!this.#entries.some((mount) => mount.target === target)) return;
    const gone = new Set(this.below(target));
    this.#entries = this.#entries.filter((mount) => !gone.has(mount));
  }

  below(path: string): MountEntry[] {
    const prefix = path.endsWith('/') ? path : `${path}/`;
    return this.#entries.filter(({ target }) => target === path || target.startsWith(prefix));
  }
}
