/** What crisp uses of SELinux. Unless said otherwise as in `kernel.ts`. */

export interface SelinuxStatus {
  /** False: what the policy denies is only logged (permissive). */
  readonly enforcing: boolean;
  /** The context of this daemon. */
  readonly own: string;
}

/** What a walk has done so far. */
export interface RelabelProgress {
  /** Entries that were looked at; the root is one. */
  readonly entries: number;
  /** Of these, those that had another label. */
  readonly changed: number;
}

export interface RelabelTree {
  /** Without links, also above the root: ELOOP else. */
  readonly path: string;
  /**
   * Device and inode of the root when the caller checked the path, with a colon between: another file there is refused, with
   * Aborted. Without it the root is what is there when the call begins.
   */
  readonly id?: string;
  readonly label: string;
  /**
   * What a directory, the root first, has from before the first change below it until all below it has the label. So a walk
   * that was cut short is known by the volume itself, or by the directory of it that is mounted (subPath): to the next daemon,
   * after a power cut, and to another node. A directory in which an error or an abort left all as it was has its former label.
   */
  readonly interim: string;
}

export type RelabelOutcome =
  | (RelabelProgress & {
      readonly kind: 'labelled';
      /** Entries below the root that take no label, and were passed over. Absent where there are none. */
      readonly unsupported?: number;
    })
  /** See `isWhole`. */
  | { readonly kind: 'labelled before' }
  /** The root takes no label: a file system without them, or one whose mount gives all its files the same. */
  | { readonly kind: 'unsupported' };

/**
 * Whether a tree whose root has this label is left alone: each directory gets its label last, so all has it that was there then.
 * Where the policy has no other interim label than the one that is requested, the root does not tell.
 */
export const isWhole = (
  found: string | undefined,
  { label, interim }: Pick<RelabelTree, 'label' | 'interim'>,
): boolean => found === label && label !== interim;

export interface Selinux {
  /** Undefined where the kernel has no SELinux in use, or no policy is loaded. */
  status(): SelinuxStatus | undefined;
  /**
   * The contexts of containers in the installed policy by their names (`process`, `file`, `ro_file`): selinux(8),
   * `lxc_contexts`. Empty where the policy has none.
   */
  containerContexts(): Promise<ReadonlyMap<string, string>>;
  /** The context as the kernel writes it. Throws InvalidArgument where the loaded policy does not know it. */
  canonical(context: string): string;
  /** The label of a file; a link is not followed. Undefined where its file system has none. */
  labelOf(path: string): Promise<string | undefined>;
  /** Sets the label of one file; a link is not followed. False where its file system has none, or one for all files. */
  setLabel(path: string, label: string): Promise<boolean>;
  /**
   * Gives a file, or a directory and all in it, the label, each directory after all in it. A file and an empty directory take one call; all
   * else is walked off the main thread. No link is followed and no mount below is entered, also where the tree is changed
   * meanwhile. `onProgress` is called now and then. At the abort it ends between two entries, and rejects with the signal's
   * reason once nothing of the tree is open; a retry continues with what has another label. An error after the first change
   * names the label that the root has until then.
   */
  relabel(
    tree: RelabelTree,
    signal: AbortSignal,
    onProgress?: (progress: RelabelProgress) => void,
  ): Promise<RelabelOutcome>;
}
