/** One stream of a connection, as its call sees it. */
import { Outgoing } from './send-queue.ts';

/** What a call learns of its stream. */
export interface StreamEvents {
  /** Bytes of the request; `isLast` where the client sends no more. */
  onData(bytes: Buffer, isLast: boolean): void;
  /** The client has ended the stream, or its connection has ended: nothing can be sent any more. */
  onReset(): void;
}

const ignored: StreamEvents = { onData() {}, onReset() {} };

export class Stream {
  readonly id: number;
  readonly out: Outgoing;
  /** Bytes of data that no WINDOW_UPDATE has returned yet. */
  received = 0;
  /** The client sends no more. */
  isClosedByPeer = false;
  /** Its call runs. */
  isBusy = false;
  events: StreamEvents = ignored;

  constructor(id: number, sendWindow: number) {
    this.id = id;
    this.out = new Outgoing(id, sendWindow);
  }
}
