/**
 * gzip and zstd as Node itself has them, called by their own interfaces (zlib.h, zstd.h): Node's streams take new memory for each
 * piece that they produce, and its collection costs as much processor time as the decompression. A call runs in libuv's threads.
 */
import koffi from 'koffi';
import { bind } from './c-library.ts';

/** Decompresses a stream that is given to it piece by piece. Only one call may be under way. */
export interface Decompressor extends Disposable {
  /** Whether all that was given is used up. */
  readonly isHungry: boolean;
  /** Whether the stream may end here. */
  readonly isComplete: boolean;
  /** Gives the next piece; its memory must stay as it is until it is used up. */
  feed(piece: Uint8Array): void;
  /** Fills the output, and returns how many bytes it got; what was given may be used up before. Throws DecompressionError. */
  fill(output: Uint8Array): Promise<number>;
}

export class DecompressionError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

type Call = Uint8Array;

const inflateInit = bind<(stream: Call, bits: number, version: string, size: number) => number>(
  'int inflateInit2_(uint8_t *stream, int bits, const char *version, int size)',
);
const inflate = bind<(stream: Call, flush: number) => number>('int inflate(uint8_t *stream, int flush)');
const inflateReset = bind<(stream: Call) => number>('int inflateReset(uint8_t *stream)');
const inflateValidate = bind<(stream: Call, check: number) => number>(
  'int inflateValidate(uint8_t *stream, int check)',
);
const inflateEnd = bind<(stream: Call) => number>('int inflateEnd(uint8_t *stream)');

/** Offsets in z_stream, of 112 bytes where pointers have 64 bits. */
const Z = { input: 0, inputLength: 8, output: 24, outputLength: 32, message: 48, size: 112 } as const;
/** The largest window, and gzip's header and trailer. */
const GZIP = 15 + 16;
const [Z_NO_FLUSH, Z_OK, Z_STREAM_END, Z_BUF_ERROR] = [0, 0, 1, -5];
const Z_CODES: Readonly<Record<number, string>> = {
  2: 'Z_NEED_DICT',
  [-2]: 'Z_STREAM_ERROR',
  [-3]: 'Z_DATA_ERROR',
  [-4]: 'Z_MEM_ERROR',
};

/** All members of a gzip stream; what follows a zero byte behind one is ignored. */
export class GzipDecompressor implements Decompressor {
  readonly #stream = Buffer.alloc(Z.size);
  /** Kept while the library has its address. */
  #piece: Uint8Array = Buffer.alloc(0);
  #state: 'member' | 'between' | 'over' = 'member';

  /** Without `checks` the sums in the stream are not compared: for who compares better ones. */
  constructor({ checks }: { readonly checks: boolean }) {
    check(inflateInit(this.#stream, GZIP, '1', Z.size), this.#stream);
    if (!checks) check(inflateValidate(this.#stream, 0), this.#stream);
  }

  get isHungry(): boolean {
    return this.#state === 'over' || this.#stream.readUInt32LE(Z.inputLength) === 0;
  }

  get isComplete(): boolean {
    return this.#state !== 'member';
  }

  feed(piece: Uint8Array): void {
    this.#piece = piece;
    this.#stream.writeBigUInt64LE(koffi.address(piece), Z.input);
    this.#stream.writeUInt32LE(piece.length, Z.inputLength);
  }

  async fill(output: Uint8Array): Promise<number> {
    if (this.isHungry) return 0;
    if (this.#state === 'between') this.#next();
    if (this.#state !== 'member') return 0;
    this.#stream.writeBigUInt64LE(koffi.address(output), Z.output);
    this.#stream.writeUInt32LE(output.length, Z.outputLength);
    const result = await called<number>((done) => inflate.async(this.#stream, Z_NO_FLUSH, done));
    if (result === Z_STREAM_END) this.#state = 'between';
    else if (result !== Z_BUF_ERROR) check(result, this.#stream); // that one says that there is nothing to do
    return output.length - this.#stream.readUInt32LE(Z.outputLength);
  }

  [Symbol.dispose](): void {
    inflateEnd(this.#stream);
  }

  /** Some writers fill the last block with zeros. */
  #next(): void {
    const left = this.#stream.readUInt32LE(Z.inputLength);
    if (this.#piece.at(-left) === 0) {
      this.#state = 'over';
      return;
    }
    check(inflateReset(this.#stream), this.#stream);
    this.#state = 'member';
  }
}

function check(result: number, stream: Buffer): void {
  if (result === Z_OK) return;
  const text = stream.readBigUInt64LE(Z.message);
  const code = Z_CODES[result] ?? `Z_ERROR_${result}`;
  throw new DecompressionError(code, text === 0n ? code : koffi.decode.string(text));
}

const createZstd = bind<() => number>('void *ZSTD_createDStream()') as unknown as () => bigint | null;
const zstd = bind<(state: bigint, output: Call, input: Call) => number>(
  'size_t ZSTD_decompressStream(void *state, uint8_t *output, uint8_t *input)',
);
const zstdErrorCode = bind<(result: number | bigint) => number>('int ZSTD_getErrorCode(size_t result)');
const zstdErrorName = bind<(result: number | bigint) => number>(
  'const char *ZSTD_getErrorName(size_t result)',
) as unknown as (result: number | bigint) => string;
const freeZstd = bind<(state: bigint) => number>('size_t ZSTD_freeDStream(void *state)');

/** Offsets in ZSTD_inBuffer and ZSTD_outBuffer. */
const BUFFER = { address: 0, size: 8, position: 16, length: 24 } as const;
/** Of ZSTD_ErrorCode (zstd_errors.h), by Node's names. */
const ZSTD_CODES: Readonly<Record<number, string>> = {
  16: 'ZSTD_error_frameParameter_windowTooLarge',
  32: 'ZSTD_error_dictionary_wrong',
};

/** All frames of a zstd stream, without the skippable ones; windows of up to 128 MiB. */
export class ZstdDecompressor implements Decompressor {
  readonly #input = Buffer.alloc(BUFFER.length);
  readonly #output = Buffer.alloc(BUFFER.length);
  /** Kept while the library has its address. */
  #piece: Uint8Array = Buffer.alloc(0);
  #state: bigint | undefined;
  /** Whether the library has more for the output than that could take. */
  #isFull = false;
  isComplete = false;

  constructor() {
    const state = createZstd();
    if (!state) throw new DecompressionError('ZSTD_error_memory_allocation', 'no memory for zstd');
    this.#state = state;
  }

  get isHungry(): boolean {
    return !this.#isFull && positionOf(this.#input) === this.#piece.length;
  }

  feed(piece: Uint8Array): void {
    this.#piece = piece;
    describe(this.#input, piece);
  }

  async fill(output: Uint8Array): Promise<number> {
    const state = this.#state;
    if (state === undefined || this.isHungry) return 0;
    describe(this.#output, output);
    const result = await called<number | bigint>((done) =>
      zstd.async(state, this.#output, this.#input, done),
    );
    const code = zstdErrorCode(result);
    if (code !== 0)
      throw new DecompressionError(ZSTD_CODES[code] ?? `ZSTD_error_${code}`, zstdErrorName(result));
    // Zero is the end of a frame, with nothing left to be written.
    this.isComplete = Number(result) === 0;
    const filled = positionOf(this.#output);
    this.#isFull = filled === output.length && !this.isComplete;
    return filled;
  }

  [Symbol.dispose](): void {
    if (this.#state !== undefined) freeZstd(this.#state);
    this.#state = undefined;
  }
}

function describe(buffer: Buffer, bytes: Uint8Array): void {
  buffer.writeBigUInt64LE(koffi.address(bytes), BUFFER.address);
  buffer.writeBigUInt64LE(BigInt(bytes.length), BUFFER.size);
  buffer.writeBigUInt64LE(0n, BUFFER.position);
}

const positionOf = (buffer: Buffer): number => Number(buffer.readBigUInt64LE(BUFFER.position));

const called = <T>(call: (done: (error: unknown, result: T) => void) => void): Promise<T> =>
  new Promise((resolve, reject) => {
    call((error, result) => (error ? reject(error) : resolve(result)));
  });
