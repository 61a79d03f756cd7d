/** An exec or attach session as both transports give it. */
import { finished, type Readable, type Writable } from 'node:stream';
import type { ClientStreams } from '#runtime-service/index.ts';
import type { Outcome } from './remote-status.ts';

/** Which streams the client asked for. */
export interface Wanted {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export interface RemoteCommand {
  readonly streams: ClientStreams;
  /** Settles when the connection is over, with the reason where it was not in order. Never rejects. */
  readonly gone: Promise<string | undefined>;
  /** The order that clients rely on: outputs end, then comes the status, then the connection ends. Never rejects. */
  finish(outcome: Outcome): Promise<void>;
  destroy(): void;
}

/**
 * Ends a sink and waits until what was written is on its way, or the sink is gone with the connection: a client that
 * takes nothing is waited for as long as it is there, or its end would be told before the last bytes.
 */
export function ended(sink: Writable | undefined, last?: string): Promise<void> {
  if (!sink || sink.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    finished(sink, { readable: false }, () => resolve());
    sink.end(last);
  });
}

/** Reads and drops the rest of an input that nobody wants any more. */
export function drop(source: Readable | undefined): void {
  if (source && !source.destroyed) source.on('data', () => {}).resume();
}
