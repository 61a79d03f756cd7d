import type { Trouble } from './troubles.ts';

export interface FileWatch extends Disposable {
  /** Whether it has ended by itself: what was watched is gone, or the kernel gave it up. */
  readonly ended: boolean;
}

/** Watches of files and directories, where the node has room for them. */
export interface Inotify {
  /**
   * Watches a file or the entries of a directory; undefined where the node has no room for a watch now: the caller looks
   * at intervals and asks again. `name` is the watcher's, for messages. Throws NotFound where the path is missing.
   */
  watch(
    name: string,
    path: string,
    onChange: (event: 'rename' | 'change', entry: string | null) => void,
  ): FileWatch | undefined;
  /** The watcher has ended: whether it had a watch is of no interest any more. */
  forget(name: string): void;
  /** What keeps watches from being made now. */
  readonly trouble: Trouble | undefined;
}
