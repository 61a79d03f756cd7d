import { failureOfConnection } from './connection-failure.ts';
import { decodedBody, encodingOf } from './content-encoding.ts';
import { discard, type HttpContext, header, type Response, readBody } from './exchange.ts';
import { RegistryFailure } from './failure.ts';
import { type PartSource, PartsAhead, SlowTransfer } from './parts.ts';
import { RateFloor, type RateLimits } from './rate-floor.ts';

/** Where the bytes of a blob go. */
export interface BlobSink {
  /** Bytes that have been written, in order, from the start of the blob. */
  readonly received: number;
  /** The piece is valid until this resolves. */
  write(piece: Buffer): Promise<void>;
  /** Drops all bytes: the next ones are the blob's first. */
  restart(): Promise<void>;
  /** Whether the bytes have the expected digest. */
  verify(): boolean;
}

export interface TransferContext extends HttpContext, RateLimits {
  /** Of the blob, by its descriptor. */
  readonly size: number;
  /** Where the rest of a large blob may come from in parts; undefined: not from this endpoint. */
  readonly parts?: PartSource | undefined;
}

/**
 * Receives what a response has of a blob, to its end, and verifies it. `from`: the position that was requested. Bytes of a
 * transfer that merely broke off stay in the sink; of wrong content none do. Throws RegistryFailure.
 */
export async function receive(
  response: Response,
  from: number,
  sink: BlobSink,
  context: TransferContext,
  signal: AbortSignal,
): Promise<void> {
  const encoding = encodedAs(response, context.size);
  await align(response, from, encoding, sink, context);
  await copy(response, encoding, sink, context, signal);
  if (!sink.verify()) throw await wrongContent(sink, `${context.what}: the bytes do not have this digest`);
}

/** The encoding of a blob's bytes. What has the blob's size is the blob: some stores call a compressed layer encoded. */
function encodedAs(response: Response, size: number): string | undefined {
  const isWhole = response.statusCode === 200 && contentLength(response) === size;
  return isWhole ? undefined : encodingOf(response);
}

async function wrongContent(sink: BlobSink, message: string): Promise<RegistryFailure> {
  await sink.restart();
  return new RegistryFailure('DataLoss', message, {
    hint: 'the endpoint sends other content than announced: check the mirror or proxy',
  });
}

/** Restarts the sink if the response does not begin at its position. */
async function align(
  response: Response,
  from: number,
  encoding: string | undefined,
  sink: BlobSink,
  { what, size }: TransferContext,
): Promise<void> {
  if (response.statusCode === 200) {
    if (sink.received > 0) await sink.restart();
    const length = contentLength(response);
    if (length === undefined || length === size || encoding !== undefined) return;
    await discard(response);
    const than = length > size ? `more than the ${size}` : `fewer than the ${size}`;
    throw await wrongContent(sink, `${what}: ${length} bytes, ${than} bytes of its manifest`);
  }
  const range = readContentRange(header(response, 'content-range'));
  // A range of an encoded body is not one of the blob.
  const isPart = response.statusCode === 206 && encoding === undefined;
  if (isPart && range && range.start === from && from === sink.received) {
    if (range.total === undefined || range.total === size) return;
    await discard(response);
    throw await wrongContent(sink, `${what}: a part of ${range.total} bytes, its manifest has ${size}`);
  }
  await discard(response);
  await sink.restart();
  throw new RegistryFailure('RegistryUnavailable', `${what}: the registry cannot resume the transfer`, {
    transient: true,
  });
}

async function copy(
  response: Response,
  encoding: string | undefined,
  sink: BlobSink,
  context: TransferContext,
  signal: AbortSignal,
): Promise<void> {
  const body = encoding === undefined ? response.body : decodedBody(response, encoding, context.what);
  const pieces = body[Symbol.asyncIterator]();
  const rate = new RateFloor(context.what, context);
  const slow =
    context.parts && hasRanges(response, encoding)
      ? new SlowTransfer(context.parts.budget.limits)
      : undefined;
  /** The bytes behind `until` come in parts. */
  let until = context.size;
  using stack = new DisposableStack();
  let ahead: PartsAhead | undefined;
  try {
    while (sink.received < until || ahead === undefined) {
      const waiting = performance.now();
      const next = await pieces.next().catch((error) => {
        if (signal.aborted) throw signal.reason;
        // All is there, only the end of the response is missing.
        if (sink.received === context.size && context.size > 0) return { done: true } as const;
        if (error instanceof RegistryFailure) throw error;
        throw failureOfConnection(error, context.what, sink.received, context.transport.noByteMs);
      });
      if (next.done) break;
      if (sink.received + next.value.length > context.size) {
        throw await wrongContent(
          sink,
          `${context.what}: more than the ${context.size} bytes of its manifest`,
        );
      }
      const waited = performance.now() - waiting;
      rate.add(next.value.length, waited);
      await sink.write(next.value.subarray(0, until - sink.received));
      if (ahead || !slow?.isSlow(waited, context.size - sink.received) || !context.parts) continue;
      const from = sink.received + context.parts.budget.limits.part;
      const parts = stack.use(new PartsAhead(context.parts, from, context.size, signal));
      if (parts.started) [ahead, until] = [parts, from];
    }
  } finally {
    await pieces.return?.(); // aborts the transfer unless it is complete
  }
  if (ahead && sink.received === until) for await (const part of ahead) await sink.write(part);
  if (sink.received === context.size) return;
  const message = `${context.what}: it ended after ${sink.received} of ${context.size} bytes`;
  // A response that is complete by its own account has other content; else the connection may have broken.
  if (isDelimited(response)) throw await wrongContent(sink, message);
  throw new RegistryFailure('RegistryUnavailable', message, {
    hint: 'check the network to the registry',
    transient: true,
  });
}

/** Whether parts of this body can be asked for. */
const hasRanges = (response: Response, encoding: string | undefined): boolean =>
  encoding === undefined &&
  (response.statusCode === 206 || /^\s*bytes\s*$/i.test(header(response, 'accept-ranges') ?? ''));

/** A response that is exactly the bytes from `from` to before `to`. Throws RegistryFailure. */
export async function receivePart(
  response: Response,
  { from, to }: { readonly from: number; readonly to: number },
  context: TransferContext,
  signal: AbortSignal,
): Promise<Buffer> {
  const range = readContentRange(header(response, 'content-range'));
  const isPart = response.statusCode === 206 && encodingOf(response) === undefined && range?.start === from;
  if (!isPart || (range.total !== undefined && range.total !== context.size)) {
    await discard(response);
    throw new RegistryFailure('RegistryUnavailable', `${context.what}: the registry sends no part of it`, {
      transient: true,
    });
  }
  const bytes = await readBody(response, to - from, context, signal);
  if (bytes.length === to - from) return bytes;
  const message = `${context.what}: a part ended after ${bytes.length} of ${to - from} bytes`;
  throw new RegistryFailure('RegistryUnavailable', message, { transient: true });
}

/** `bytes 100-199/200`, also with an unknown total; undefined where it is malformed (RFC 9110, 14.4). */
export function readContentRange(
  value: string | undefined,
): { readonly start: number; readonly total: number | undefined } | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i.exec(value?.trim() ?? '');
  if (!match || Number(match[1]) > Number(match[2])) return undefined;
  const total = match[3] === '*' ? undefined : Number(match[3]);
  return total !== undefined && total <= Number(match[2]) ? undefined : { start: Number(match[1]), total };
}

function contentLength(response: Response): number | undefined {
  const value = header(response, 'content-length');
  return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : undefined;
}

/** Whether the end of the body is known by more than the end of the connection. */
const isDelimited = (response: Response): boolean =>
  header(response, 'content-length') !== undefined || header(response, 'transfer-encoding') !== undefined;
