/** A client of SPDY/3.1 for tests: it packs its headers with real compression, and shows every frame that comes back. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { request as requestTls } from 'node:https';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { constants, createDeflate, type Deflate } from 'node:zlib';
import { createWebSocketStream, WebSocket } from 'ws';
import { headerDictionary } from '#cri/streaming/spdy/dictionary.ts';
import * as frames from '#cri/streaming/spdy/frames.ts';
import { encodeHeaders } from '#cri/streaming/spdy/headers.ts';

const DEADLINE = 120_000;

export interface Upgraded {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  readonly socket: Duplex | undefined;
  readonly head: Buffer;
}

/** SPDY in the messages of a WebSocket. */
export async function openTunnel(url: string): Promise<SpdyClient> {
  const headers = { ...webSocketHeaders(), 'Sec-WebSocket-Protocol': 'SPDY/3.1+portforward.k8s.io' };
  const { socket, head, status, headers: answer } = await upgrade(url, headers, 'GET');
  if (!socket) throw new Error(`refused with ${status}`);
  assert.equal(answer['sec-websocket-protocol'], 'SPDY/3.1+portforward.k8s.io');
  // The client of ws refuses a protocol's name with a slash: its parts alone do not.
  const peer = new WebSocket(null as never, [], {}) as WebSocket & {
    setSocket(socket: Duplex, head: Buffer, options: object): void;
  };
  Object.assign(peer, { _isServer: false });
  peer.setSocket(socket, head, {
    maxPayload: 1 << 30,
    skipUTF8Validation: true,
    allowSynchronousEvents: true,
  });
  return new SpdyClient(createWebSocketStream(peer));
}

export const webSocketHeaders = (): Record<string, string> => ({
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
});

/** The client certificate over TLS, in PEM. */
export interface ClientIdentity {
  readonly cert: string;
  readonly key: string;
}

/** One HTTP request with an upgrade. Servers are trusted by Node's authorities alone (`setDefaultCACertificates`). */
export function upgrade(
  url: string,
  headers: Readonly<Record<string, string>>,
  method = 'POST',
  identity: ClientIdentity | undefined = undefined,
): Promise<Upgraded> {
  return new Promise((resolve, reject) => {
    const options = { method, headers, agent: false, ...identity };
    const call = url.startsWith('https:') ? requestTls(url, options) : request(url, options);
    call.on('error', reject);
    call.on('upgrade', (response, socket, head) => {
      resolve({ status: 101, headers: response.headers, body: '', socket, head });
    });
    call.on('response', async (response) => {
      let body = '';
      for await (const chunk of response) body += chunk;
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        body,
        socket: undefined,
        head: Buffer.alloc(0),
      });
    });
    call.end();
  });
}

export const spdyHeaders = (protocol: string): Record<string, string> => ({
  Connection: 'Upgrade',
  Upgrade: 'SPDY/3.1',
  'X-Stream-Protocol-Version': protocol,
});

export class ClientStream {
  readonly chunks: Buffer[] = [];
  replied = false;
  ended = false;
  reset: number | undefined;
  readonly id: number;
  readonly #client: SpdyClient;

  constructor(id: number, client: SpdyClient) {
    this.id = id;
    this.#client = client;
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  /** Resolves when the bytes are written. */
  write(bytes: string | Uint8Array): Promise<void> {
    const data = Buffer.from(bytes);
    return this.#client.send(Buffer.concat([frames.dataHeader(this.id, data.length, false), data]));
  }

  end(): Promise<void> {
    return this.#client.send(frames.dataHeader(this.id, 0, true));
  }

  cancel(): Promise<void> {
    return this.#client.send(
      frames.controlFrame(frames.RST_STREAM, 0, frames.words(this.id, frames.RST.cancel)),
    );
  }
}

export class SpdyClient {
  readonly socket: Duplex;
  readonly streams = new Map<number, ClientStream>();
  readonly pongs: number[] = [];
  goAway: number | undefined;
  closed = false;
  /** Bytes of received data. */
  received = 0;
  /** Called with each piece of data, instead of keeping it. */
  onData: ((stream: ClientStream, bytes: Buffer) => void) | undefined;
  readonly #deflate: Deflate = createDeflate({ dictionary: headerDictionary });
  readonly #waiting = new Set<() => void>();
  #next = 1;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(socket: Duplex, head: Buffer = Buffer.alloc(0)) {
    this.socket = socket;
    const reader = new frames.FrameReader();
    const take = (bytes: Buffer) => {
      for (const frame of reader.read(bytes)) this.#take(frame);
      for (const wake of this.#waiting) wake();
    };
    socket.on('error', () => {});
    socket.on('data', take);
    socket.on('close', () => {
      this.closed = true;
      this.#deflate.close();
      for (const wake of this.#waiting) wake();
    });
    socket.on('end', () => socket.end());
    if (head.length > 0) take(head);
  }

  static async open(url: string, protocol: string, identity?: ClientIdentity): Promise<SpdyClient> {
    const { status, body, socket, head } = await upgrade(url, spdyHeaders(protocol), 'POST', identity);
    if (!socket) throw new Error(`${status}: ${body}`);
    return new SpdyClient(socket, head);
  }

  send(bytes: Buffer): Promise<void> {
    return new Promise((resolve) => {
      if (this.closed || this.socket.destroyed) return resolve();
      this.socket.write(bytes, () => resolve());
    });
  }

  /** Streams are opened one after another, also by concurrent callers: their headers are one compression stream. */
  stream(headers: Readonly<Record<string, string>>, options: { fin?: boolean } = {}): Promise<ClientStream> {
    const opened = this.#tail.then(() => this.#open(headers, options));
    this.#tail = opened.catch(() => {});
    return opened;
  }

  async #open(headers: Readonly<Record<string, string>>, { fin }: { fin?: boolean }): Promise<ClientStream> {
    const id = this.#next;
    this.#next += 2;
    const stream = new ClientStream(id, this);
    this.streams.set(id, stream);
    const block = await this.pack(headers);
    const start = [frames.words(id, 0), Buffer.alloc(2), block];
    await this.send(frames.controlFrame(frames.SYN_STREAM, fin ? frames.FLAG_FIN : 0, ...start));
    return stream;
  }

  /** A compressed header block; to be sent in the order of compression. */
  async pack(headers: Readonly<Record<string, string>>): Promise<Buffer> {
    const chunks: Buffer[] = [];
    const take = (chunk: Buffer) => chunks.push(chunk);
    this.#deflate.on('data', take);
    this.#deflate.write(encodeHeaders(new Map(Object.entries(headers))));
    await new Promise<void>((resolve) => this.#deflate.flush(constants.Z_SYNC_FLUSH, () => resolve()));
    this.#deflate.off('data', take);
    return Buffer.concat(chunks);
  }

  /** Waits until the condition holds; checks whenever data was received. */
  async until(what: string, condition: () => boolean, limit = DEADLINE): Promise<void> {
    if (condition()) return;
    const done = Promise.withResolvers<void>();
    const look = () => condition() && done.resolve();
    this.#waiting.add(look);
    const stop = new AbortController();
    const late = sleep(limit, undefined, { signal: stop.signal, ref: false }).then(
      () => {
        throw new Error(`${what}: not within ${limit} ms`);
      },
      () => {},
    );
    try {
      await Promise.race([done.promise, late]);
    } finally {
      stop.abort();
      this.#waiting.delete(look);
    }
  }

  async close(): Promise<void> {
    if (this.closed) return;
    const closed = once(this.socket, 'close');
    this.socket.destroy();
    await closed;
  }

  #take(frame: frames.ControlFrame | frames.DataPiece): void {
    if (frame.kind === 'data') {
      this.received += frame.bytes.length;
      const stream = this.streams.get(frame.stream);
      if (!stream) return;
      if (this.onData) this.onData(stream, frame.bytes);
      else if (frame.bytes.length > 0) stream.chunks.push(frame.bytes);
      if (frame.fin) stream.ended = true;
      return;
    }
    const id = frame.payload.length >= 4 ? frame.payload.readUInt32BE(0) : 0;
    const stream = this.streams.get(id);
    if (frame.type === frames.SYN_REPLY && stream) stream.replied = true;
    if (frame.type === frames.RST_STREAM && stream) stream.reset = frame.payload.readUInt32BE(4);
    if (frame.type === frames.PING) this.pongs.push(id);
    if (frame.type === frames.GOAWAY) this.goAway = frame.payload.readUInt32BE(4);
  }
}
