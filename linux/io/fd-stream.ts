/**
 * A Node stream over a descriptor that node:net does not take: a terminal's master, a SEQPACKET socket. The descriptor
 * does not block; the event loop polls it, and each read or write is one system call on the main thread.
 */
import { closeSync } from 'node:fs';
import { Duplex } from 'node:stream';
import { errnoName, refused } from '../libc/errno.ts';
import {
  type DescriptorWatch,
  lastErrno,
  readBytes,
  shutdownSocket,
  watchDescriptor,
  writeBytes,
} from '../libc/libc.ts';

const SHUT_WR = 1;
/** Reads at one wake-up, so that one stream does not hold up the others. */
const BURST = 16;
/** Packets that are buffered: some 128 KiB. */
const PACKETS_AHEAD = 16;

export interface DescriptorKind {
  /** For messages: `the attach socket …`. */
  readonly name: string;
  /** `packets`: one object for each packet; `bytes`: EIO is the end, as terminals have it. */
  readonly reads: 'packets' | 'bytes';
  /** Most bytes of one read or write. */
  readonly chunk: number;
  /** Whether ending the stream shuts down the writing side of a socket. */
  readonly shutdown: boolean;
}

interface Writing {
  readonly bytes: Buffer;
  at: number;
  readonly done: (error?: Error | null) => void;
}

export class DescriptorStream extends Duplex {
  readonly fd: number;
  readonly #kind: DescriptorKind;
  readonly #watch: DescriptorWatch;
  readonly #scratch: Buffer;
  #reading = false;
  #writing: Writing | undefined;

  /** Owns the descriptor from now on. */
  constructor(fd: number, kind: DescriptorKind) {
    super({
      readableObjectMode: kind.reads === 'packets',
      ...(kind.reads === 'packets' ? { readableHighWaterMark: PACKETS_AHEAD } : {}),
      allowHalfOpen: true,
    });
    this.fd = fd;
    this.#kind = kind;
    this.#scratch = Buffer.allocUnsafeSlow(kind.chunk + 1);
    try {
      this.#watch = watchDescriptor(fd, () => this.#ready());
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    this.on('error', () => {}); // without a listener an error would end the daemon; users see the close
  }

  override _read(): void {
    this.#reading = true;
    this.#wait();
  }

  override _write(bytes: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#writing = { bytes, at: 0, done };
    this.#proceed();
    this.#wait();
  }

  override _final(done: () => void): void {
    // A peer that has closed already is not an error.
    if (this.#kind.shutdown && !this.destroyed) shutdownSocket(this.fd, SHUT_WR);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#watch.close();
    closeSync(this.fd);
    const writing = this.#writing;
    this.#writing = undefined;
    done(error);
    writing?.done(error);
  }

  #wait(): void {
    if (this.destroyed) return;
    const events = { readable: this.#reading, writable: this.#writing !== undefined };
    if (events.readable || events.writable) this.#watch.start(events);
    else this.#watch.stop();
  }

  #ready(): void {
    if (this.destroyed) return;
    if (this.#writing) this.#proceed();
    for (let n = 0; n < BURST && this.#reading && !this.destroyed; n++) if (!this.#receive()) break;
    this.#wait();
  }

  /** One read; false where there is nothing more now. */
  #receive(): boolean {
    const { chunk, reads, name } = this.#kind;
    const length = readBytes(this.fd, this.#scratch, reads === 'packets' ? chunk + 1 : chunk);
    if (length > 0) {
      this.#reading = this.push(Buffer.from(this.#scratch.subarray(0, length)));
      return true;
    }
    const errno = length < 0 ? errnoName(lastErrno()) : '';
    if (errno === 'EAGAIN' || errno === 'EINTR') return false;
    this.#reading = false;
    if (length === 0 || errno === 'ECONNRESET' || (errno === 'EIO' && reads === 'bytes')) this.push(null);
    else this.destroy(refused(`read from ${name}`, errno));
    return false;
  }

  /** Writes as much as fits. */
  #proceed(): void {
    const { chunk, name } = this.#kind;
    for (let writing = this.#writing; writing && !this.destroyed; writing = this.#writing) {
      const piece = writing.bytes.subarray(writing.at, writing.at + chunk);
      const length = piece.length === 0 ? 0 : writeBytes(this.fd, piece, piece.length);
      if (length < 0) {
        const errno = errnoName(lastErrno());
        if (errno === 'EAGAIN' || errno === 'EINTR') return;
        this.#writing = undefined;
        writing.done(refused(`write to ${name}`, errno));
        return;
      }
      writing.at += length;
      if (writing.at < writing.bytes.length) continue;
      this.#writing = undefined;
      writing.done();
    }
  }
}
