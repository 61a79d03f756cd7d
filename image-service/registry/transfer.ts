import { failureOfConnection } from './connection-failure.ts';
import { discard, failureOf, type HttpContext, header, type Response } from './exchange.ts';
import { RegistryFailure } from './failure.ts';

/** Where the bytes of a blob go. */
export interface BlobSink {
  /** Bytes that have been written, in order, from the start of the blob. */
  readonly received: number;
  write(piece: Buffer): Promise<void>;
  /** Drops all bytes: the next ones are the blob's first. */
  restart(): Promise<void>;
  /** Whether the bytes have the expected digest. */
  verify(): boolean;
}

/** Receives one blob by one request that continues where the sink is. Throws RegistryFailure. */
export async function receive(
  request: (from: number) => Promise<Response>,
  sink: BlobSink,
  context: HttpContext & { readonly size: number },
  signal: AbortSignal,
): Promise<void> {
  if (sink.received < context.size || context.size === 0) {
    const response = await request(sink.received);
    await align(response, sink, context.what);
    await copy(response, sink, context, signal);
  }
  if (sink.verify()) return;
  await sink.restart();
  throw new RegistryFailure('DataLoss', `${context.what}: the bytes do not have this digest`, {
    hint: 'the endpoint sends other content than announced: check the mirror or proxy',
  });
}

/** Resets the sink if the response does not start at its position. */
async function align(response: Response, sink: BlobSink, what: string): Promise<void> {
  if (response.statusCode === 200) {
    if (sink.received > 0) await sink.restart();
    return;
  }
  const start = /^bytes (\d+)-/.exec(header(response, 'content-range') ?? '')?.[1];
  if (response.statusCode === 206 && Number(start) === sink.received) return;
  if (response.statusCode === 206 || response.statusCode === 416) {
    await discard(response);
    await sink.restart();
    throw new RegistryFailure('RegistryUnavailable', `${what}: the registry cannot resume the transfer`, {
      transient: true,
    });
  }
  throw await failureOf(response, what);
}

async function copy(
  response: Response,
  sink: BlobSink,
  context: HttpContext & { readonly size: number },
  signal: AbortSignal,
): Promise<void> {
  const pieces = response.body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await pieces.next().catch((error) => {
        if (signal.aborted) throw signal.reason;
        throw failureOfConnection(error, context.what, sink.received, context.transport.noByteMs);
      });
      if (next.done) break;
      if (sink.received + next.value.length > context.size) {
        await sink.restart();
        throw new RegistryFailure(
          'DataLoss',
          `${context.what}: more than the ${context.size} bytes of its manifest`,
          {
            hint: 'the endpoint sends other content than announced: check the mirror or proxy',
          },
        );
      }
      await sink.write(next.value);
    }
  } finally {
    await pieces.return?.(); // aborts the transfer unless it is complete
  }
  if (sink.received < context.size) {
    throw new RegistryFailure(
      'RegistryUnavailable',
      `${context.what}: it ended after ${sink.received} of ${context.size} bytes`,
      {
        hint: 'check the network to the registry',
        transient: true,
      },
    );
  }
}
