/**
 * Messages on a socket. They are handled a few at a time, so that a flood does not hold up others. Reading never waits for what is
 * to be sent: of two sides that both did so, none would go on. So who does not take the answers to its requests is cut off.
 */
import type { Duplex } from 'node:stream';
import {
  BrokenRule,
  FrameReader,
  framed,
  type Message,
  MessageReader,
  PLUGIN_SERVICE,
  RUNTIME_SERVICE,
} from './frames.ts';

/** Messages that are handled before others get their turn. */
const MESSAGES_PER_TURN = 64;
/** Answers that wait to be sent, and their bytes: with more, the connection is ended. */
const MAX_UNSENT = 1024;
const MAX_UNSENT_BYTES = 32 * 2 ** 20;
/** For what is still to be sent when the connection is closed, in milliseconds. */
const LINGER_MS = 1000;

interface Delivery {
  readonly connection: number;
  readonly message: Message;
}

export interface WireEvents {
  /** What it throws ends the wire. */
  received(connection: number, message: Message): void;
  /** Once, unless `close` has been called. Undefined: the other side has closed it between two messages. */
  ended(reason: Error | undefined): void;
}

export class Wire {
  readonly #socket: Duplex;
  readonly #events: WireEvents;
  readonly #frames = new FrameReader();
  readonly #readers = new Map([
    [PLUGIN_SERVICE, new MessageReader()],
    [RUNTIME_SERVICE, new MessageReader()],
  ]);
  /** What is left of the bytes that were read. */
  #incoming: Iterator<Delivery, void> | undefined;
  #unsent = 0;
  #unsentBytes = 0;
  #isClosed = false;

  constructor(socket: Duplex, events: WireEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('the socket has been closed')));
  }

  start(): void {
    this.#socket.on('end', () =>
      this.#end(this.#isWithin() ? new BrokenRule('a part of a message') : undefined),
    );
    this.#socket.on('data', (bytes: Buffer) => {
      this.#incoming = this.#read(bytes);
      this.#handle();
    });
  }

  /** Bytes that wait to be sent. */
  get pending(): number {
    return this.#socket.writableLength;
  }

  send(connection: number, message: Message): void {
    if (!this.#isClosed) this.#socket.write(framed(connection, message));
  }

  /** Sends what the other side can have asked for as often as it likes. */
  answer(connection: number, message: Message): void {
    if (this.#isClosed) return;
    const bytes = framed(connection, message);
    this.#unsent++;
    this.#unsentBytes += bytes.length;
    this.#socket.write(bytes, () => {
      this.#unsent--;
      this.#unsentBytes -= bytes.length;
    });
    if (this.#unsent > MAX_UNSENT || this.#unsentBytes > MAX_UNSENT_BYTES)
      this.#end(new BrokenRule('more requests than it takes answers to'));
  }

  /** What was written before is still sent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#incoming = undefined;
    const socket = this.#socket;
    socket.removeAllListeners('data');
    if (socket.destroyed || socket.writableLength === 0) {
      socket.destroy();
      return;
    }
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.once('close', () => clearTimeout(timer));
    socket.end(() => socket.destroy());
  }

  #end(reason: Error | undefined): void {
    if (this.#isClosed) return;
    this.close();
    this.#events.ended(reason);
  }

  #isWithin(): boolean {
    return this.#frames.isWithin || [...this.#readers.values()].some((reader) => reader.isWithin);
  }

  *#read(bytes: Buffer): Generator<Delivery, void> {
    for (const { connection, piece } of this.#frames.read(bytes)) {
      const messages = this.#readers.get(connection)?.read(piece) ?? [];
      for (const message of messages) yield { connection, message };
    }
  }

  #handle(): void {
    try {
      for (let turn = 0; this.#incoming; turn++) {
        if (turn === MESSAGES_PER_TURN) {
          this.#socket.pause();
          setImmediate(() => this.#goOn());
          return;
        }
        const { value, done } = this.#incoming.next();
        if (done) this.#incoming = undefined;
        else this.#events.received(value.connection, value.message);
      }
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #goOn(): void {
    this.#handle();
    if (this.#incoming === undefined && !this.#isClosed) this.#socket.resume();
  }
}
