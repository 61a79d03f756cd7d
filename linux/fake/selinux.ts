import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { throwIfAborted } from '../libc/abort.ts';
import { fromNode } from '../libc/errno.ts';
import {
  isWhole,
  type RelabelOutcome,
  type RelabelProgress,
  type RelabelTree,
  type Selinux,
  type SelinuxStatus,
} from '../ports/selinux.ts';

const CONTEXT = /^[\w.-]+:[\w.-]+:[\w.-]+(:s\d+[\w:,.-]*)?$/;

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
    const { path, label, interim } = tree;
    throwIfAborted(signal, `relabel ${path}`);
    this.#stat(path);
    if (this.#isUnsupported(path)) return { kind: 'unsupported' };
    if (isWhole(this.#labelOf(path), tree)) return { kind: 'labelled before' };
    // As off the main thread: a caller has its promise before the walk begins.
    await setImmediate();
    const below = this.#below(path);
    if (below.length > 0) this.labels.set(path, interim);
    let changed = 0;
    for (const [entries, entry] of [...below, path].entries()) {
      onProgress({ entries, changed });
      throwIfAborted(signal, `relabel ${path}`);
      if (this.#labelOf(entry) === label) continue;
      this.labels.set(entry, label);
      changed++;
    }
    return { kind: 'labelled', entries: below.length + 1, changed };
  }

  #labelOf(path: string): string {
    return this.labels.get(path) ?? 'system_u:object_r:unlabeled_t:s0';
  }

  #isUnsupported(path: string): boolean {
    return [...this.unsupported].some((top) => path === top || path.startsWith(`${top}/`));
  }

  #below(path: string): string[] {
    if (!this.#stat(path).isDirectory()) return [];
    return readdirSync(path)
      .map((name) => join(path, name))
      .flatMap((entry) => [entry, ...this.#below(entry)]);
  }

  #stat(path: string) {
    try {
      return lstatSync(path);
    } catch (error) {
      throw fromNode(error, `read the label of ${path}`);
    }
  }
}
