/** A client's side of an exec or attach session, whatever it speaks. */
import type { Readable, Writable } from 'node:stream';

/** A stream that the client did not ask for is undefined. Nobody here ends a sink: the session's owner does. */
export interface ClientStreams {
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  /** Calls back with columns and rows, each from 1 to 65535, the latest known ones first; until the session ends. */
  readonly onResize: (listener: (columns: number, rows: number) => void) => void;
}
