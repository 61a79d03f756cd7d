import { mkdirSync } from 'node:fs';
import { CrispError, errnoOf } from '#core/errors.ts';
import { TarReader } from '#core/tar/reader.ts';
import { removeTreeSync } from '#linux/fs/remove-tree.ts';
import { Sha256 } from '#linux/libc/sha256.ts';
import { type RingMemory, RingReader } from '../byte-ring.ts';
import { type ByteSource, Restarted } from '../byte-source.ts';
import type { UnpackLimits } from '../options.ts';
import { ArchiveFile } from './archive-file.ts';
import { decompress, type Taken } from './decompress.ts';
import { DirectoryGuard } from './directory-guard.ts';
import { shown, type TarHandler } from './entry.ts';
import { type LayerReport, LayerWriter } from './layer-writer.ts';

export interface UnpackRequest {
  /** The compressed archive: a file, or the memory through which another thread sends it. */
  readonly archive: string | RingMemory;
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

/**
 * Unpacks one layer on this thread and verifies its diff id; of a stream also the blob is verified at the end. Where the
 * stream begins anew so does the directory. The caller deletes the directory after an error.
 */
export async function unpackLayer(request: UnpackRequest, signal: AbortSignal): Promise<LayerReport> {
  const { archive, directory } = request;
  using source = openSource(archive);
  return await fromSource(
    source,
    signal,
    () => write(request, source, signal),
    () => {
      removeTreeSync(directory);
      mkdirSync(directory, { mode: 0o755 });
    },
  );
}

/** The source of an archive: a file, or what another thread sends. */
export const openSource = (archive: UnpackRequest['archive']): ByteSource & Disposable =>
  typeof archive === 'string' ? new ArchiveFile(archive) : new RingReader(archive);

/**
 * Takes an archive from its source by `take`; `discard` drops what that has made of bytes that turn out to be wrong. An
 * error of the content is one of the archive only if its bytes are the right ones, which is known at their end.
 */
export async function fromSource<T>(
  source: ByteSource,
  signal: AbortSignal,
  take: () => Promise<T>,
  discard: () => void,
): Promise<T> {
  for (;;) {
    source.begin();
    try {
      return await take().catch(async (error) => {
        if (isOfContent(error)) while (await source.next(signal)) {}
        throw error;
      });
    } catch (error) {
      if (!(error instanceof Restarted)) throw error;
    }
    discard();
  }
}

/** What the node lacks, whatever the bytes are. */
const OF_NODE = ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EMFILE', 'ENFILE', 'ENOMEM'];

/** Whether other bytes may have another outcome. */
const isOfContent = (error: unknown): boolean =>
  error instanceof CrispError && error.code !== 'Cancelled' && !OF_NODE.includes(errnoOf(error) ?? '');

async function write(request: UnpackRequest, source: ByteSource, signal: AbortSignal): Promise<LayerReport> {
  const { below, directory, limits } = request;
  using writer = new LayerWriter(directory, limits, new Map(request.redirects));
  await readArchive(below ? new DirectoryGuard(writer, below) : writer, request, source, signal);
  return writer.finish();
}

/** Reads the archive into the handler, which takes the next piece when it is `ready`, and verifies its diff id. */
export async function readArchive(
  handler: TarHandler & { readonly ready?: () => Promise<void> },
  { diffId, limits, compressedSize }: Pick<UnpackRequest, 'diffId' | 'limits' | 'compressedSize'>,
  source: ByteSource,
  signal: AbortSignal,
): Promise<void> {
  const hash = new Sha256();
  const reader = new TarReader(handler);
  const size = new SizeLimit(limits, compressedSize);
  const take = (piece: Buffer): Taken => {
    size.add(piece.length);
    const used = hash.add(piece); // while this thread reads it
    try {
      reader.write(piece);
    } catch (error) {
      return { ready: Promise.reject(error), used };
    }
    return { ready: handler.ready?.() ?? Promise.resolve(), used };
  };
  try {
    await decompress(source, take, { isVerified: diffId !== undefined, signal });
    reader.end();
  } catch (error) {
    throw atMember(error, reader.last);
  }
  const found = `sha256:${hash.digest().toString('hex')}`;
  if (diffId === undefined || found === diffId) return;
  const message = `layer archive: its diff id is ${found}, not ${diffId} as in the image's config`;
  throw new CrispError('DataLoss', message, {
    hint: 'build and push the image again: its config and its layers do not match',
  });
}

/** Adds the place to an error of a stream that is damaged or too large; what the kernel refuses has nothing to do with it. */
function atMember(error: unknown, last: string | undefined): unknown {
  if (errnoOf(error) !== undefined) return error;
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
