import { failureOfConnection, RegistryFailure } from './failure.ts';
import { discard, failureOf, header, type Response } from './http.ts';

/** Where the bytes of a blob go. */
export interface BlobSink {
  /** Bytes that have been written, in order, from the blob's begin. */
  readonly received: number;
  write(piece: Buffer): Promise<void>;
  /** Forgets all bytes: the next ones are the blob's first. */
  restart(): Promise<void>;
  /** Whether the bytes have the digest that they are to have. */
  verify(): boolean;
}

/** Receives one blob by one request that goes on where the sink stands. Throws RegistryFailure. */
export async function receive(
  request: (from: number) => Promise<Response>,
  sink: BlobSink,
  ask: { readonly what: string; readonly noByteMs: number; readonly size: number },
  signal: AbortSignal,
): Promise<void> {
  if (sink.received < ask.size || ask.size === 0) {
    const response = await request(sink.received);
    await align(response, sink, ask.what);
    await copy(response, sink, ask, signal);
  }
  if (sink.verify()) return;
  await sink.restart();
  throw new RegistryFailure('DataLoss', `${ask.what}: the bytes do not have this digest`, {
    hint: 'the endpoint sends other content than it says: check the mirror or proxy',
  });
}

/** Brings the sink to where the answer begins. */
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
  ask: { readonly what: string; readonly noByteMs: number; readonly size: number },
  signal: AbortSignal,
): Promise<void> {
  const pieces = response.body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await pieces.next().catch((error) => {
        if (signal.aborted) throw signal.reason;
        throw failureOfConnection(error, ask.what, sink.received, ask.noByteMs);
      });
      if (next.done) break;
      if (sink.received + next.value.length > ask.size) {
        await sink.restart();
        throw new RegistryFailure(
          'DataLoss',
          `${ask.what}: more than the ${ask.size} bytes of its manifest`,
          {
            hint: 'the endpoint sends other content than it says: check the mirror or proxy',
          },
        );
      }
      await sink.write(next.value);
    }
  } finally {
    await pieces.return?.(); // ends the transfer where it is not at its end
  }
  if (sink.received < ask.size) {
    throw new RegistryFailure(
      'RegistryUnavailable',
      `${ask.what}: it ended after ${sink.received} of ${ask.size} bytes`,
      {
        hint: 'check the network to the registry',
        transient: true,
      },
    );
  }
}
