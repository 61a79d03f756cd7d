import type { Trouble } from './troubles.ts';

export interface FileWatch extends Disposable {
  /** Whether it has ended by itself: what was watched is deleted, or the kernel removed the watch. */
  readonly ended: boolean;
}

/** Watches of files and directories, within the node's limits of inotify. */
export interface Inotify {
  /**
   * Watches a file or the entries of a directory; undefined where a limit of the node permits no watch now: the caller
   * polls and tries again. `name` is the watcher's, for messages. Throws NotFound where the path is missing.
   */
  watch(
    name: string,
    path: string,
    onChange: (event: 'rename' | 'change', entry: string | null) => void,
  ): FileWatch | undefined;
  /** The watcher has ended: removes it from `trouble`. */
  forget(name: string): void;
  /** Why watches cannot be made now. */
  readonly trouble: Trouble | undefined;
}
