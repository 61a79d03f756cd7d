/** A header block, which may be spread over several frames (RFC 9113, sections 6.2 and 6.10). */
import { ConnectionError, Flag, FRAME_HEADER, type Frame, Http2Code } from './frames.ts';

const PRIORITY_BYTES = 5;

export class HeaderBlock {
  readonly stream: number;
  /** The client sends nothing after it. */
  readonly isLast: boolean;
  readonly #limit: number;
  readonly #pieces: Buffer[] = [];
  #size = 0;
  #isWhole = false;

  private constructor(stream: number, isLast: boolean, limit: number) {
    this.stream = stream;
    this.isLast = isLast;
    this.#limit = limit;
  }

  /** Begins with a HEADERS frame; `limit` in bytes, each frame's header counted. Throws ConnectionError. */
  static of(next: Frame, limit: number): HeaderBlock {
    if (next.stream % 2 === 0)
      throw new ConnectionError(Http2Code.protocolError, `a client's stream ${next.stream}`);
    const payload = unpadded(next);
    const skipped = next.flags & Flag.priority ? PRIORITY_BYTES : 0;
    if (payload.length < skipped)
      throw new ConnectionError(Http2Code.frameSizeError, 'HEADERS without its priority');
    const block = new HeaderBlock(next.stream, (next.flags & Flag.endStream) !== 0, limit);
    return block.add({ ...next, payload: payload.subarray(skipped) });
  }

  /** Adds a frame. Throws ConnectionError where the block exceeds the limit: it cannot be decoded then, and neither can others. */
  add({ flags, payload }: Frame): this {
    this.#size += FRAME_HEADER + payload.length;
    if (this.#size > this.#limit)
      throw new ConnectionError(Http2Code.enhanceYourCalm, `headers of more than ${this.#limit} bytes`);
    this.#pieces.push(payload);
    this.#isWhole = (flags & Flag.endHeaders) !== 0;
    return this;
  }

  get isWhole(): boolean {
    return this.#isWhole;
  }

  get bytes(): Buffer {
    const [first] = this.#pieces;
    return first && this.#pieces.length === 1 ? first : Buffer.concat(this.#pieces);
  }
}

/** The payload without the padding of DATA and HEADERS (section 6.1). Throws ConnectionError. */
export function unpadded({ flags, payload }: Frame): Buffer {
  if (!(flags & Flag.padded)) return payload;
  const padding = payload[0];
  if (padding === undefined)
    throw new ConnectionError(Http2Code.frameSizeError, 'padding without its length');
  if (padding >= payload.length)
    throw new ConnectionError(Http2Code.protocolError, 'more padding than payload');
  return payload.subarray(1, payload.length - padding);
}
