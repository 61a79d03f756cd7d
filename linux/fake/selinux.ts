import { lstatSync, readdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { throwIfAborted } from '../libc/abort.ts';
import { fromNode, refused } from '../libc/errno.ts';
import {
  isWhole,
  type RelabelOutcome,
  type RelabelProgress,
  type RelabelTree,
  type Selinux,
  type SelinuxStatus,
} from '../ports/selinux.ts';
import { refuseOther } from '../selinux/root.ts';
import { unfinished } from '../selinux/unfinished.ts';

const CONTEXT = /^[\w.-]+:[\w.-]+:[\w.-]+(:s\d+[\w:,.-]*)?$/;

type Progress = { -readonly [K in keyof RelabelProgress]: RelabelProgress[K] } & { unsupported: number };

/** A node with SELinux, whose labels are in memory; files are real ones. It is off until a test switches it on. */
export class FakeSelinux implements Selinux {
  /** What `status` reports. */
  isOn: SelinuxStatus | undefined;
  /** By path; a file that is not here has `unlabeled_t`. */
  readonly labels = new Map<string, string>();
  /** Types that the policy does not have. */
  readonly unknownTypes = new Set<string>();
  /** Paths at and below which files take no label. */
  readonly unsupported = new Set<string>();
  /** Paths whose label cannot be changed. */
  readonly immutable = new Set<string>();
  contexts = new Map([
    ['process', 'system_u:system_r:container_t:s0'],
    ['file', 'system_u:object_r:container_file_t:s0'],
    ['ro_file', 'system_u:object_r:container_ro_file_t:s0'],
  ]);

  status(): SelinuxStatus | undefined {
    return this.isOn;
  }

  async containerContexts(): Promise<ReadonlyMap<string, string>> {
    return this.contexts;
  }

  /** The order of a pair of categories is all that it changes. */
  canonical(context: string): string {
    const [, , type = ''] = context.split(':');
    if (CONTEXT.test(context) && !this.unknownTypes.has(type))
      return context.replace(/:c(\d+),c(\d+)$/, (text, one, other) =>
        Number(one) > Number(other) ? `:c${other},c${one}` : text,
      );
    throw new CrispError('InvalidArgument', `the SELinux policy of this node has no context ${context}`, {
      errno: 'EINVAL',
    });
  }

  async labelOf(path: string): Promise<string | undefined> {
    this.#stat(path);
    return this.#isUnsupported(path) ? undefined : this.#labelOf(path);
  }

  async setLabel(path: string, label: string): Promise<boolean> {
    this.#stat(path);
    if (this.#isUnsupported(path)) return false;
    this.labels.set(path, this.canonical(label));
    return true;
  }

  async relabel(
    tree: RelabelTree,
    signal: AbortSignal,
    onProgress: (progress: RelabelProgress) => void = () => {},
  ): Promise<RelabelOutcome> {
    const { path } = tree;
    throwIfAborted(signal, `relabel ${path}`);
    const found = this.#stat(path);
    if (realpathSync(path) !== path) throw refused(`open ${path}`, 'ELOOP');
    refuseOther(path, tree.id, found);
    if (this.#isUnsupported(path)) return { kind: 'unsupported' };
    if (isWhole(this.#labelOf(path), tree)) return { kind: 'labelled before' };
    // As off the main thread: a caller has its promise before the walk begins.
    await setImmediate();
    const progress: Progress = { entries: 0, changed: 0, unsupported: 0 };
    this.#walk(path, tree, progress, () => {
      onProgress({ entries: progress.entries, changed: progress.changed });
      throwIfAborted(signal, `relabel ${path}`);
    });
    const { unsupported, ...done } = progress;
    return { kind: 'labelled', ...done, ...(unsupported > 0 ? { unsupported } : {}) };
  }

  /** As the real one: a directory has the interim label until all in it has the new one, unless it had that before. */
  #walk(path: string, tree: RelabelTree, progress: Progress, step: () => void): void {
    const { label, interim } = tree;
    const names = this.#stat(path).isDirectory() ? readdirSync(path) : [];
    const former = this.#labelOf(path);
    const isMarked = names.length > 0 && former !== label && !this.#isUnsupported(path);
    const before = progress.changed;
    if (isMarked) this.labels.set(path, interim);
    try {
      for (const name of names) this.#walk(join(path, name), tree, progress, step);
      step();
      this.#refuse(path, label);
    } catch (error) {
      if (isMarked && progress.changed === before && former !== interim) this.labels.set(path, former);
      else if (isMarked && path === tree.path) throw unfinished(error, tree);
      throw error;
    }
    progress.entries++;
    if (this.#isUnsupported(path)) progress.unsupported++;
    if (this.#isUnsupported(path) || this.#labelOf(path) === label) return;
    this.labels.set(path, label);
    progress.changed++;
  }

  #refuse(path: string, label: string): void {
    if (this.immutable.has(path) && this.#labelOf(path) !== label)
      throw refused(`set the label of ${path} to ${label}`, 'EPERM');
  }

  #labelOf(path: string): string {
    return this.labels.get(path) ?? 'system_u:object_r:unlabeled_t:s0';
  }

  #isUnsupported(path: string): boolean {
    return [...this.unsupported].some((top) => path === top || path.startsWith(`${top}/`));
  }

  #stat(path: string) {
    try {
      return lstatSync(path, { bigint: true });
    } catch (error) {
      throw fromNode(error, `read the label of ${path}`);
    }
  }
}
