/** The one message of a request, cut from the data of its stream (PROTOCOL-HTTP2.md, "Length-Prefixed-Message"). */
import { GrpcCode, type RpcStatus } from './status.ts';

/** The flag of compression and the length. */
export const MESSAGE_PREFIX = 5;

const refuse = (code: GrpcCode, details: string): RpcStatus => ({ code, details });

export class RequestMessage {
  readonly #limit: number;
  #bytes: Buffer = Buffer.alloc(0);
  #size = 0;

  /** `limit`: bytes of a message. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Bytes that are held. */
  get size(): number {
    return this.#size;
  }

  /** Lets go of what is held. */
  clear(): void {
    this.#bytes = Buffer.alloc(0);
    this.#size = 0;
  }

  /** Adds received bytes, of which `isLast` are the last; returns a status where no request can come of them. */
  add(bytes: Buffer, isLast: boolean): RpcStatus | undefined {
    if (isLast && this.#size === 0) this.#bytes = bytes;
    else this.#append(bytes);
    this.#size += bytes.length;
    const length = this.#length();
    if (length === undefined) return undefined;
    if (length > this.#limit)
      return refuse(
        GrpcCode.RESOURCE_EXHAUSTED,
        `a request of ${length} bytes, which is more than ${this.#limit}`,
      );
    if (this.#size > MESSAGE_PREFIX + length)
      return refuse(GrpcCode.UNIMPLEMENTED, 'more than one message in a request');
    return undefined;
  }

  /** The message, when the client sends no more; or the status where it is none. */
  take(encoding: string | undefined): Buffer | RpcStatus {
    const length = this.#length();
    if (this.#size === 0) return refuse(GrpcCode.UNIMPLEMENTED, 'a request without a message');
    if (length === undefined || this.#size < MESSAGE_PREFIX + length)
      return refuse(GrpcCode.INTERNAL, 'the request ended amid its message');
    const bytes = this.#bytes;
    if (bytes[0] === 0) return bytes.subarray(MESSAGE_PREFIX, this.#size);
    return encoding === undefined || encoding === 'identity'
      ? refuse(GrpcCode.INTERNAL, 'a message with the flag of compression, and no grpc-encoding')
      : refuse(GrpcCode.UNIMPLEMENTED, `a message compressed with '${encoding}'; none but identity is taken`);
  }

  /** Copies: what is received is a view of a whole read of the socket, however small it is. */
  #append(bytes: Buffer): void {
    const needed = this.#size + bytes.length;
    if (needed > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, Math.min(2 * needed, MESSAGE_PREFIX + this.#limit)));
      this.#bytes.copy(larger, 0, 0, this.#size);
      this.#bytes = larger;
    }
    bytes.copy(this.#bytes, this.#size);
  }

  #length(): number | undefined {
    return this.#size < MESSAGE_PREFIX ? undefined : this.#bytes.readUInt32BE(1);
  }
}
