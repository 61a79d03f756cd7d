/** Where the bytes of an archive come from, for a thread that reads them in order. */
export interface ByteSource {
  /** The first bytes, which stay to be read; fewer only where the source has no more. To be called first. */
  peek(length: number, signal: AbortSignal): Promise<Buffer>;
  /**
   * The next bytes, which are valid until the next call; undefined at the end. Without a promise where they are there. Throws
   * `Restarted`, also at each later call, until `begin`; the signal's reason at its abort.
   */
  next(signal: AbortSignal): Promise<Buffer | undefined> | Buffer | undefined;
  /** Begins at the first byte, at first and after `Restarted`. */
  begin(): void;
}

/** The bytes that were read so far are not those of the archive: they come anew, from the first on. */
export class Restarted extends Error {
  constructor() {
    super('the archive begins anew');
  }
}
