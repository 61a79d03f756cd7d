/** An exec or attach session, independent of the transport. */
import { finished, type Readable, type Writable } from 'node:stream';
import type { ClientStreams } from '#runtime-service/index.ts';
import type { Outcome } from './remote-status.ts';

/** Which streams the client requested. */
export interface RequestedStreams {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export interface RemoteCommand {
  readonly streams: ClientStreams;
  /** Settles when the connection is over, with the reason if that was not orderly. Never rejects. */
  readonly closed: Promise<string | undefined>;
  /** In the order that clients rely on: the outputs end, the status is sent, the connection ends. Never rejects. */
  finish(outcome: Outcome): Promise<void>;
  destroy(): void;
}

/**
 * Ends a sink and waits until everything is written, or the connection is closed: a client that does not read is waited
 * for as long as it is connected, or the end would overtake the last bytes.
 */
export function endStream(sink: Writable | undefined, last?: string): Promise<void> {
  if (!sink || sink.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    finished(sink, { readable: false }, () => resolve());
    sink.end(last);
  });
}

/** Reads and drops the rest of an input that is no longer needed. */
export function discardInput(source: Readable | undefined): void {
  if (source && !source.destroyed) source.on('data', () => {}).resume();
}
