/** Header blocks of SPDY/3: names and values with their lengths, in one zlib stream for each direction. */
import { constants, createInflate, type Inflate } from 'node:zlib';
import { headerDictionary } from './dictionary.ts';

export type SpdyHeaders = ReadonlyMap<string, string>;

/** Maximum decompressed size of one block; clients send a few hundred bytes. */
export const MAX_HEADER_BYTES = 32 << 10;
const MAX_HEADERS = 64;

/** The peer violates the protocol: the session cannot continue. */
export class SpdyProtocolError extends Error {}

/** Decompresses the blocks of one session, in their order. */
export class HeaderInflater implements Disposable {
  readonly #inflate: Inflate;
  readonly #chunks: Buffer[] = [];
  #size = 0;
  #failed: ((error: Error) => void) | undefined;

  constructor() {
    this.#inflate = createInflate({
      dictionary: headerDictionary,
      flush: constants.Z_SYNC_FLUSH,
      finishFlush: constants.Z_SYNC_FLUSH,
      chunkSize: 4096,
    });
    this.#inflate.on('data', (chunk: Buffer) => {
      this.#size += chunk.length;
      if (this.#size <= MAX_HEADER_BYTES) this.#chunks.push(chunk);
      else
        this.#inflate.destroy(
          new SpdyProtocolError(`a header block unpacks to more than ${MAX_HEADER_BYTES} bytes`),
        );
    });
    this.#inflate.on('error', (error) => this.#failed?.(error));
    this.#inflate.on('close', () => this.#failed?.(new Error('the session has ended')));
  }

  /** One block; throws SpdyProtocolError for one that is malformed or too large. Calls must not overlap. */
  async read(block: Buffer): Promise<SpdyHeaders> {
    this.#size = 0;
    this.#chunks.length = 0;
    await new Promise<void>((resolve, reject) => {
      this.#failed = (error) =>
        reject(
          error instanceof SpdyProtocolError
            ? error
            : new SpdyProtocolError(`a header block: ${error.message}`),
        );
      this.#inflate.write(block, (error) => {
        if (error) return this.#failed?.(error);
        while (this.#inflate.read() !== null); // emits the remaining data events
        resolve();
      });
    });
    this.#failed = undefined;
    return parseHeaders(Buffer.concat(this.#chunks));
  }

  [Symbol.dispose](): void {
    this.#inflate.destroy();
  }
}

/** Names become lower case; several values of one name stay separated by NUL. */
export function parseHeaders(bytes: Buffer): SpdyHeaders {
  const headers = new Map<string, string>();
  let at = 0;
  const number = (): number => {
    if (at + 4 > bytes.length) throw new SpdyProtocolError('a header block is truncated');
    at += 4;
    return bytes.readUInt32BE(at - 4);
  };
  const text = (): string => {
    const length = number();
    if (at + length > bytes.length) throw new SpdyProtocolError('a header block is truncated');
    at += length;
    return bytes.toString('latin1', at - length, at);
  };
  const count = number();
  if (count > MAX_HEADERS) throw new SpdyProtocolError(`${count} headers are more than ${MAX_HEADERS}`);
  for (let n = 0; n < count; n++) headers.set(text().toLowerCase(), text());
  return headers;
}

/** As zlib has it: deflate with a window of 32 KiB, no dictionary. */
const ZLIB_HEADER = Buffer.from([0x78, 0x01]);
const EMPTY_BLOCK = Buffer.from([0, 0, 0, 0xff, 0xff]);

/**
 * Writes deflate's stored blocks: crisp sends hardly any headers, so compression would gain nothing, and without it sizes
 * disclose nothing (CRIME). The empty block behind each is the flush that readers wait for.
 */
export class HeaderDeflater {
  #begun = false;

  /** At most 64 KiB of headers in one block. */
  write(headers: SpdyHeaders): Buffer {
    const block = encodeHeaders(headers);
    const lengths = Buffer.alloc(5);
    lengths.writeUInt16LE(block.length, 1);
    lengths.writeUInt16LE(~block.length & 0xffff, 3);
    const parts = [lengths, block, EMPTY_BLOCK];
    if (!this.#begun) parts.unshift(ZLIB_HEADER);
    this.#begun = true;
    return Buffer.concat(parts);
  }
}

export function encodeHeaders(headers: SpdyHeaders): Buffer {
  const number = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const text = (value: string): Buffer[] => [number(value.length), Buffer.from(value, 'latin1')];
  return Buffer.concat([
    number(headers.size),
    ...[...headers].flatMap(([name, value]) => [...text(name.toLowerCase()), ...text(value)]),
  ]);
}
