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

export type RelabelOutcome =
  | (RelabelProgress & { readonly kind: 'labelled' })
  /** The root has the label, which is set last: so all has it that was there then. */
  | { readonly kind: 'labelled before' }
  /** A file system without labels, or one whose mount gives all its files the same. */
  | { readonly kind: 'unsupported' };

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
   * Gives a file, or a directory and all in it, the label, the root last. Off the main thread. No link is followed and no
   * mount below is entered, also where the tree is changed meanwhile. `onProgress` is called now and then. At the abort it
   * ends between two entries, and rejects with the signal's reason; a retry continues with what has another label.
   */
  relabel(
    path: string,
    label: string,
    signal: AbortSignal,
    onProgress?: (progress: RelabelProgress) => void,
  ): Promise<RelabelOutcome>;
}
