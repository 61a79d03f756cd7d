/** What the record store needs of a file system; linux/ has the real one. */
export interface RecordFiles {
  /**
   * Temporary file in the same directory, write, flush (fdatasync), rename, (durable: fsync of the directory). A power cut
   * leaves the former file or this one, whole; `durable`: this one, once it has resolved.
   */
  writeAtomic(path: string, data: string, options?: { mode?: number; durable?: boolean }): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  /** rename(2), with Node's own errors. Only what has been flushed may be renamed to a name that is read after a power cut. */
  rename(path: string, to: string): Promise<void>;
  /** Makes it with its parents, with Node's own errors; the uppermost that is new, undefined where it was there. */
  makeDirectory(path: string, mode?: number): Promise<string | undefined>;
  /** Deletes a tree. A missing path is success. */
  removeTree(path: string): Promise<void>;
  /** Free space on the file system of the path, in bytes. */
  statfs(
    path: string,
  ): Promise<{ readonly available: bigint; readonly inodes: bigint; readonly inodesFree: bigint }>;
}
