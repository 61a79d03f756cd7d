import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

/** Together below the 16 MiB at which clients refuse a reply (contract, section 1). */
const LIMIT = (8 << 20) - (16 << 10);
const POLL_MS = 20;
/**
 * Polls without a byte after which the outputs are not waited for any more, although processes still hold them open. They
 * are counted instead of measuring time: between two of them everything in a pipe is read, however busy the daemon is.
 */
const QUIET_POLLS = 5;
/** A background job that goes on writing is not waited for. What the command itself has written is read by then. */
const MAX_POLLS = 25;

/** Both outputs of a command, the first `LIMIT` bytes of each; the rest is read and dropped, so that no writer blocks. */
export class ExecOutput implements Disposable {
  readonly #streams: Readable[] = [];
  readonly #parts = new Map<Readable, Buffer[]>();
  #reads = 0;

  /** `stdout` and `stderr` in this order. */
  follow(...streams: readonly (Readable | undefined)[]): void {
    for (const stream of streams) {
      if (!stream) continue;
      this.#streams.push(stream);
      const parts: Buffer[] = [];
      this.#parts.set(stream, parts);
      let kept = 0;
      stream.on('data', (chunk: Buffer) => {
        this.#reads++;
        const part = chunk.subarray(0, LIMIT - kept);
        if (part.length > 0) parts.push(part);
        kept += part.length;
      });
    }
  }

  /** To be called after the end of the command: resolves when all that it has written is read. */
  async drained(): Promise<void> {
    let quiet = 0;
    const closed = Promise.all(
      this.#streams.map((stream) => stream.closed || new Promise((ok) => stream.once('close', ok))),
    );
    for (let poll = 0; poll < MAX_POLLS && quiet < QUIET_POLLS && this.#isOpen; poll++) {
      const before = this.#reads;
      await Promise.race([closed, sleep(POLL_MS)]);
      quiet = this.#reads === before ? quiet + 1 : 0;
    }
  }

  /** What has been read. */
  bytes(): { stdout: Buffer; stderr: Buffer } {
    const [stdout, stderr] = this.#streams.map((stream) => Buffer.concat(this.#parts.get(stream) ?? []));
    return { stdout: stdout ?? Buffer.alloc(0), stderr: stderr ?? Buffer.alloc(0) };
  }

  [Symbol.dispose](): void {
    for (const stream of this.#streams) stream.destroy();
  }

  get #isOpen(): boolean {
    return this.#streams.some((stream) => !stream.closed);
  }
}
