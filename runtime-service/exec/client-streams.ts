/** A client's side of an exec or attach session, in any protocol. */
import type { Readable, Writable } from 'node:stream';

/** A stream that the client did not request is undefined. Only the session's owner ends a sink. */
export interface ClientStreams {
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  /** Calls back with columns and rows, each from 1 to 65535, the latest known ones first; until the session ends. */
  readonly onResize: (listener: (columns: number, rows: number) => void) => void;
}
