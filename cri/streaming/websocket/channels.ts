/**
 * The channel protocols of Kubernetes over WebSocket: the first byte of each message is the number of a channel, or in
 * the base64 forms a digit in front of base64. Version 5 adds the message 255, N: the client has closed its side of channel N.
 */
import { Readable, Writable } from 'node:stream';
import type { WebSocket } from 'ws';

const CLOSE = 255;
const DIGIT_ZERO = 0x30;

/** The protocol in use; '' is the oldest. */
const isBase64 = (protocol: string): boolean => protocol.includes('base64');
const hasClose = (protocol: string): boolean => protocol.startsWith('v5.');

/** The channels of one connection. */
export class Channels {
  readonly #socket: WebSocket;
  readonly #base64: boolean;
  readonly #sources = new Map<number, ChannelSource>();
  readonly #congested = new Set<ChannelSource>();
  /** Settles when the connection is over, with the reason if that was not orderly. */
  readonly ended: Promise<string | undefined>;

  constructor(socket: WebSocket, protocol: string) {
    this.#socket = socket;
    this.#base64 = isBase64(protocol);
    let reason: string | undefined;
    socket.on('error', (error) => {
      reason = error.message;
    });
    socket.on('message', (data: Buffer) => this.#receive(data, hasClose(protocol)));
    this.ended = new Promise((resolve) => {
      socket.once('close', (code) => {
        for (const source of this.#sources.values()) source.finish();
        resolve(
          reason ??
            (code === 1000 || code === 1005 ? undefined : `the connection was closed with code ${code}`),
        );
      });
    });
  }

  /** What the client sends on a channel. Data of channels without a source is dropped. */
  source(channel: number): Readable {
    const source = new ChannelSource((congested) => this.#congest(source, congested));
    this.#sources.set(channel, source);
    return source;
  }

  /** What is sent to the client on a channel. Ending it sends nothing: there is no such message. */
  sink(channel: number): Writable {
    return new Writable({
      write: (chunk: Buffer, _encoding, done) => this.send(channel, chunk, done),
    });
  }

  send(channel: number, bytes: Buffer, done: () => void = () => {}): void {
    const message = this.#base64
      ? `${channel}${bytes.toString('base64')}`
      : Buffer.concat([Buffer.of(channel), bytes], bytes.length + 1);
    // A closed connection takes nothing; writers are notified by `ended`.
    this.#socket.send(message, { binary: !this.#base64 }, () => done());
  }

  /** An orderly close. Resolves when the client has replied, or at the timeout. */
  async close(): Promise<void> {
    this.#congested.clear();
    this.#socket.resume();
    this.#socket.close(1000);
    await this.ended;
  }

  destroy(): void {
    this.#socket.terminate();
  }

  #receive(data: Buffer, hasClose: boolean): void {
    const first = data[0];
    if (first === undefined) return;
    if (hasClose && first === CLOSE) {
      this.#sources.get(data[1] ?? CLOSE)?.finish();
      return;
    }
    const channel = this.#base64 ? first - DIGIT_ZERO : first;
    const source = this.#sources.get(channel);
    if (!source) return;
    source.receive(this.#base64 ? Buffer.from(data.toString('latin1', 1), 'base64') : data.subarray(1));
  }

  /** TCP is the window: while a channel takes no more, nothing is read from the connection. */
  #congest(source: ChannelSource, congested: boolean): void {
    if (congested) this.#congested.add(source);
    else this.#congested.delete(source);
    if (this.#congested.size > 0) this.#socket.pause();
    else if (this.#socket.isPaused) this.#socket.resume();
  }
}

class ChannelSource extends Readable {
  readonly #onCongested: (congested: boolean) => void;
  #ended = false;

  constructor(onCongested: (congested: boolean) => void) {
    super({ highWaterMark: 256 << 10 });
    this.#onCongested = onCongested;
  }

  receive(bytes: Buffer): void {
    if (this.#ended || this.destroyed || bytes.length === 0) return;
    if (!this.push(bytes)) this.#onCongested(true);
  }

  finish(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.push(null);
    this.#onCongested(false);
  }

  override _read(): void {
    this.#onCongested(false);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#onCongested(false);
    done(error);
  }
}
