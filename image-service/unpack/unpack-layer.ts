import { createHash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { TarReader } from '#core/tar/reader.ts';
import { namingSync } from '#linux/libc/errno.ts';
import type { UnpackLimits } from '../options.ts';
import { decompress } from './decompress.ts';
import { DirectoryGuard } from './directory-guard.ts';
import { shown } from './entry.ts';
import { type LayerReport, LayerWriter } from './layer-writer.ts';

export interface UnpackRequest {
  /** The compressed archive, a file. */
  readonly archive: string;
  readonly compressedSize: number;
  /** Directory to unpack into; exists and is empty. */
  readonly directory: string;
  /** `sha256:…` that the unpacked archive must have; undefined if none is known. */
  readonly diffId: string | undefined;
  readonly limits: UnpackLimits;
  readonly redirects: readonly (readonly [string, string])[];
  /** All entries must be below these parts (bytes as characters): a packed directory of an artifact. */
  readonly below?: readonly string[];
}

/** Unpacks one layer on this thread and verifies its diff id. The caller deletes the directory after an error. */
export async function unpackLayer(request: UnpackRequest, signal: AbortSignal): Promise<LayerReport> {
  const { archive, directory, diffId, limits } = request;
  const hash = createHash('sha256');
  const fd = namingSync(`open ${archive}`, () => openSync(archive, 'r'));
  try {
    using writer = new LayerWriter(directory, limits, new Map(request.redirects));
    const { below } = request;
    const reader = new TarReader(below ? new DirectoryGuard(writer, below) : writer);
    const size = new SizeLimit(limits, request.compressedSize);
    try {
      await decompress(
        fd,
        (piece) => {
          size.add(piece.length);
          hash.update(piece);
          reader.write(piece);
        },
        signal,
      );
      reader.end();
    } catch (error) {
      throw atMember(error, reader.last);
    }
    const found = `sha256:${hash.digest('hex')}`;
    if (diffId !== undefined && found !== diffId) {
      throw new CrispError(
        'DataLoss',
        `layer archive: its diff id is ${found}, not ${diffId} as in the image's config`,
        {
          hint: 'build and push the image again: its config and its layers do not match',
        },
      );
    }
    return writer.finish();
  } finally {
    closeSync(fd);
  }
}

/** Adds the place to an error of a stream that is damaged or too large. */
function atMember(error: unknown, last: string | undefined): unknown {
  const { code, message, hint } = error instanceof CrispError ? error : {};
  if ((code !== 'DataLoss' && code !== 'ResourceExhausted') || last === undefined || message === undefined)
    return error;
  if (message.includes(shown(last))) return error;
  return new CrispError(code, `${message}; the last member that was read is ${shown(last)}`, {
    ...(hint === undefined ? {} : { hint }),
    cause: error instanceof Error ? error.cause : undefined,
  });
}

/** Stops a decompression bomb during unpacking. */
class SizeLimit {
  readonly #limits: UnpackLimits;
  readonly #compressed: number;
  #bytes = 0;

  constructor(limits: UnpackLimits, compressed: number) {
    this.#limits = limits;
    this.#compressed = compressed;
  }

  add(count: number): void {
    this.#bytes += count;
    const { layerBytes, ratio, ratioFrom } = this.#limits;
    if (this.#bytes > layerBytes) {
      throw new CrispError(
        'ResourceExhausted',
        `layer archive: it unpacks to more than ${layerBytes} bytes`,
        {
          hint: "raise the limit of a layer's unpacked bytes, if the image is trusted",
        },
      );
    }
    if (this.#bytes > ratioFrom && this.#bytes > this.#compressed * ratio) {
      throw new CrispError(
        'ResourceExhausted',
        `layer archive: ${this.#compressed} bytes unpack to more than ${ratio} times as many`,
        { hint: 'raise the limit of the unpack ratio, if the image is trusted' },
      );
    }
  }
}
