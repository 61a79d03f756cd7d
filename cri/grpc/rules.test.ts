/** Clients that break the rules of HTTP/2, or use them to harm: they lose their connection, or their call; others notice nothing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after, before, type TestContext } from 'node:test';
import fc from 'fast-check';
import { askVersion } from '../socket-probe.ts';
import type { Call } from './call.ts';
import {
  Flag,
  type Frame,
  FrameReader,
  FrameType,
  frame,
  Http2Code,
  PREFACE,
  rstStream,
  Setting,
  settings,
  windowUpdate,
} from './frames.ts';
import { encodeHeaders } from './hpack.ts';
import { GrpcServer } from './server.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-rules-'));
const socket = join(directory, 's');
const PATH = '/runtime.v1.RuntimeService/Version';
const MAX_CALLS = 8;
const held = new Set<Call>();
const grpc = new GrpcServer({
  maxRequest: 1 << 20,
  maxCalls: MAX_CALLS,
  methods: new Map([
    [PATH, async (_request: Buffer, call: Call) => call.reply(Buffer.alloc(0))],
    ['/test/Large', async (_request: Buffer, call: Call) => call.reply(LARGE)],
    [
      '/test/Blocks',
      async (_request: Buffer, call: Call) => {
        call.open();
        for (let count = 0; count < 1000 && !call.hasEnded; count += 1) {
          blocks += 1;
          await call.send(BLOCK);
        }
        call.end();
      },
    ],
    [
      '/test/Hold',
      (_request: Buffer, call: Call) =>
        new Promise<void>((resolve) => {
          held.add(call);
          ends.push(resolve);
        }),
    ],
  ]),
});
const LARGE = Buffer.alloc(20 << 20);
const BLOCK = Buffer.alloc(1 << 16);
let blocks = 0;
const ends: (() => void)[] = [];
function endHeld(): void {
  for (const end of ends.splice(0)) end();
  held.clear();
}
const accepted = new Set<Socket>();
const listener: Server = createServer((connection) => {
  accepted.add(connection);
  connection.on('close', () => accepted.delete(connection));
  grpc.accept(connection);
});
const { signal } = new AbortController();

before(async () => {
  listener.listen(socket);
  await once(listener, 'listening');
});
after(() => {
  grpc.destroy();
  listener.close();
  rmSync(directory, { recursive: true });
});

const requestHeaders = (path: string): Buffer =>
  encodeHeaders([
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
  ]);
const headersFrame = (id: number, path = PATH, flags: number = Flag.endHeaders): Buffer =>
  frame(FrameType.headers, flags, id, requestHeaders(path));
const EMPTY = Buffer.alloc(5);
const dataOf = (id: number): Buffer => frame(FrameType.data, Flag.endStream, id, EMPTY);
const callOf = (id: number, path = PATH): Buffer => Buffer.concat([headersFrame(id, path), dataOf(id)]);
const BEGIN = Buffer.concat([PREFACE, settings([])]);

interface Peer {
  readonly connection: Socket;
  /** The next frame that `matches`; undefined at the end of the connection. */
  next(matches: (found: Frame) => boolean): Promise<Frame | undefined>;
}

/** Of RST_STREAM and GOAWAY. */
const codeOf = ({ type, payload }: Frame): number => payload.readUInt32BE(type === FrameType.goAway ? 4 : 0);

async function dial(t: TestContext | undefined, ...bytes: Buffer[]): Promise<Peer> {
  const connection = connect(socket);
  connection.on('error', () => {});
  t?.after(() => connection.destroy());
  const reader = new FrameReader(false);
  const frames: Frame[] = [];
  connection.on('data', (piece: Buffer) => {
    reader.push(piece);
    for (let next = reader.next(); next; next = reader.next()) frames.push(next);
    connection.emit('frames');
  });
  connection.on('close', () => connection.emit('frames'));
  await once(connection, 'connect');
  for (const piece of bytes) connection.write(piece);
  return {
    connection,
    async next(matches) {
      for (;;) {
        const at = frames.findIndex(matches);
        if (at >= 0) return frames.splice(at, 1)[0];
        if (connection.closed) return undefined;
        await once(connection, 'frames');
      }
    },
  };
}

const ofType =
  (type: number, stream?: number) =>
  (found: Frame): boolean =>
    found.type === type && (stream === undefined || found.stream === stream);

test('a broken rule ends the connection with its code', async (t) => {
  const { protocolError, flowControlError, frameSizeError, compressionError, enhanceYourCalm, streamClosed } =
    Http2Code;
  const cases: readonly (readonly [what: string, code: number, ...bytes: Buffer[]])[] = [
    ['HTTP/1.1', protocolError, Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    ['a frame before the settings', protocolError, PREFACE, frame(FrameType.ping, 0, 0, Buffer.alloc(8))],
    ['a frame that is too large', frameSizeError, BEGIN, frame(FrameType.data, 0, 1, Buffer.alloc(16_385))],
    ['data on stream 0', protocolError, BEGIN, frame(FrameType.data, 0, 0, EMPTY)],
    ['data on a stream that is not open', protocolError, BEGIN, frame(FrameType.data, 0, 1, EMPTY)],
    ['a stream of the server', protocolError, BEGIN, headersFrame(2)],
    ['a promise', protocolError, BEGIN, frame(FrameType.pushPromise, Flag.endHeaders, 1, Buffer.alloc(4))],
    ['a continuation of nothing', protocolError, BEGIN, frame(FrameType.continuation, 0, 1, EMPTY)],
    [
      'a frame amid headers',
      protocolError,
      BEGIN,
      headersFrame(1, PATH, 0),
      frame(FrameType.ping, 0, 0, Buffer.alloc(8)),
    ],
    [
      'a continuation of another',
      protocolError,
      BEGIN,
      headersFrame(1, PATH, 0),
      frame(FrameType.continuation, 4, 3, EMPTY),
    ],
    [
      'headers without an end',
      enhanceYourCalm,
      BEGIN,
      headersFrame(1, PATH, 0),
      ...Array.from({ length: 8000 }, () => frame(FrameType.continuation, 0, 1, Buffer.alloc(0))),
    ],
    [
      'more padding than payload',
      protocolError,
      BEGIN,
      frame(FrameType.headers, Flag.padded | 4, 1, Buffer.from([9, 1])),
    ],
    [
      'padding without its length',
      frameSizeError,
      BEGIN,
      frame(FrameType.headers, Flag.padded | 4, 1, Buffer.alloc(0)),
    ],
    [
      'a priority that is cut off',
      frameSizeError,
      BEGIN,
      frame(FrameType.headers, Flag.priority | 4, 1, Buffer.alloc(3)),
    ],
    [
      'a block that cannot be decoded',
      compressionError,
      BEGIN,
      frame(FrameType.headers, 4, 1, Buffer.from([0x80])),
    ],
    ['a window of the connection beyond 2^31', flowControlError, BEGIN, windowUpdate(0, 2 ** 31 - 1)],
    [
      'settings again and again',
      enhanceYourCalm,
      BEGIN,
      ...Array.from({ length: 1001 }, () => settings([[Setting.initialWindowSize, 5]])),
    ],
    [
      'headers behind the end of a stream',
      streamClosed,
      BEGIN,
      callOf(1, '/test/Hold'),
      headersFrame(1, PATH, 5),
    ],
    ['no window', protocolError, BEGIN, windowUpdate(0, 0)],
    ['a window of a stream that is not open', protocolError, BEGIN, windowUpdate(7, 1)],
    ['half a window', frameSizeError, BEGIN, frame(FrameType.windowUpdate, 0, 0, Buffer.alloc(3))],
    ['a reset of a stream that is not open', protocolError, BEGIN, rstStream(1, Http2Code.cancel)],
    ['half a reset', frameSizeError, BEGIN, frame(FrameType.rstStream, 0, 1, Buffer.alloc(3))],
    ['half a ping', frameSizeError, BEGIN, frame(FrameType.ping, 0, 0, Buffer.alloc(7))],
    ['a ping on a stream', protocolError, BEGIN, frame(FrameType.ping, 0, 1, Buffer.alloc(8))],
    ['settings on a stream', protocolError, PREFACE, frame(FrameType.settings, 0, 1, Buffer.alloc(0))],
    ['half a setting', frameSizeError, PREFACE, frame(FrameType.settings, 0, 0, Buffer.alloc(5))],
    [
      'an acknowledgement with settings',
      frameSizeError,
      BEGIN,
      frame(FrameType.settings, 1, 0, Buffer.alloc(6)),
    ],
    ['frames that are too small', protocolError, PREFACE, settings([[Setting.maxFrameSize, 16_383]])],
    ['a push that is neither on nor off', protocolError, PREFACE, settings([[Setting.enablePush, 2]])],
    [
      'a window that is too large',
      flowControlError,
      PREFACE,
      settings([[Setting.initialWindowSize, 2 ** 31]]),
    ],
    [
      'data behind the end of a stream',
      streamClosed,
      BEGIN,
      headersFrame(1, '/test/Hold'),
      dataOf(1),
      dataOf(1),
    ],
  ];
  for (const [what, code, ...bytes] of cases) {
    const peer = await dial(t, ...bytes);
    const found = (await peer.next(
      (next) => next.type === FrameType.goAway || next.type === FrameType.rstStream,
    )) as Frame;
    assert.ok(found, what);
    assert.equal(codeOf(found), code, what);
    if (found.type === FrameType.goAway && !peer.connection.closed) await once(peer.connection, 'close');
    peer.connection.destroy();
  }
  await askVersion(socket, signal);
  endHeld();
});

test('what the rules allow is served: padding, priorities, trailers, unknown frames, continuations', async (t) => {
  const block = requestHeaders(PATH);
  const padded = (payload: Buffer, head = Buffer.alloc(0)) =>
    Buffer.concat([Buffer.from([3]), head, payload, Buffer.alloc(3)]);
  const peer = await dial(
    t,
    BEGIN,
    frame(0x42, 0xff, 9, Buffer.from('unknown')),
    frame(FrameType.priority, 0, 1, Buffer.alloc(5)),
    frame(
      FrameType.headers,
      Flag.padded | Flag.priority | Flag.endHeaders,
      1,
      padded(block, Buffer.alloc(5)),
    ),
    frame(FrameType.data, Flag.padded, 1, padded(EMPTY)),
    frame(FrameType.headers, Flag.endHeaders | Flag.endStream, 1, encodeHeaders([['x-trailer', 'y']])),
    frame(FrameType.headers, 0, 3, block.subarray(0, 10)),
    frame(FrameType.continuation, 0, 3, block.subarray(10, 20)),
    frame(FrameType.continuation, Flag.endHeaders, 3, block.subarray(20)),
    frame(FrameType.data, Flag.endStream, 3, EMPTY),
  );
  for (const id of [1, 3])
    assert.ok(
      await peer.next(
        (next) => next.type === FrameType.headers && next.stream === id && (next.flags & 1) === 1,
      ),
      String(id),
    );
});

test('calls that run on after their streams were reset count: a client cannot begin more than are allowed', async (t) => {
  const ids = Array.from({ length: MAX_CALLS + 1 }, (_, index) => 2 * index + 1);
  const last = ids.at(-1) as number;
  const peer = await dial(
    t,
    BEGIN,
    ...ids.flatMap((id) => [callOf(id, '/test/Hold'), rstStream(id, Http2Code.cancel)]),
  );
  const refused = await peer.next(ofType(FrameType.rstStream, last));
  assert.deepEqual(refused?.payload, Buffer.from([0, 0, 0, Http2Code.refusedStream]));
  assert.equal(held.size, MAX_CALLS);
  endHeld();
  await new Promise(setImmediate);
  peer.connection.write(callOf(last + 2));
  assert.ok(await peer.next(ofType(FrameType.data, last + 2)));
});

test('a client that asks for long replies and reads none has few of them made; others are answered', async (t) => {
  const peer = await dial(t, PREFACE, settings([[Setting.initialWindowSize, 0]]));
  const before = process.memoryUsage().arrayBuffers;
  for (let id = 1; id < 2 * MAX_CALLS; id += 2) peer.connection.write(callOf(id, '/test/Large'));
  for (let id = 1; id < 8; id += 2) assert.ok(await peer.next(ofType(FrameType.headers, id)));
  await askVersion(socket, signal);
  // More than 64 MiB wait: the next call begins when they are taken.
  peer.connection.write(callOf(2 * MAX_CALLS + 1));
  assert.ok(process.memoryUsage().arrayBuffers - before < 100 << 20);
  peer.connection.write(Buffer.concat([windowUpdate(0, 2 ** 30), windowUpdate(1, 2 ** 30)]));
  assert.ok(
    await peer.next((next) => next.stream === 1 && next.type === FrameType.headers && (next.flags & 1) === 1),
  );
});

test('a call whose stream breaks a rule is cancelled, and begun once', async (t) => {
  const peer = await dial(t, BEGIN, callOf(1, '/test/Hold'));
  peer.connection.write(windowUpdate(0, 1)); // what comes behind the call is read later, or with it
  while (held.size === 0) await new Promise(setImmediate);
  const [call] = held;
  const cancelled = Promise.withResolvers<void>();
  if (call) call.onCancel = cancelled.resolve;
  peer.connection.write(headersFrame(1, PATH, Flag.endHeaders | Flag.endStream));
  await cancelled.promise;
  assert.equal(held.size, 1);
  assert.ok(call?.hasEnded);
  endHeld();
});

test('of a setting that is there twice the last one is in effect, for open streams too', async (t) => {
  const peer = await dial(t, PREFACE, settings([[Setting.initialWindowSize, 0]]), callOf(1, '/test/Large'));
  assert.ok(await peer.next(ofType(FrameType.headers, 1)));
  const twice = settings([
    [Setting.initialWindowSize, 10],
    [Setting.initialWindowSize, 2 ** 30],
  ]);
  peer.connection.write(Buffer.concat([twice, windowUpdate(0, 2 ** 30)]));
  assert.ok(
    await peer.next((next) => next.stream === 1 && next.type === FrameType.headers && (next.flags & 1) === 1),
  );
});

test('a stream is not produced for a client that opens its windows and reads nothing', async (t) => {
  const peer = await dial(
    t,
    PREFACE,
    settings([[Setting.initialWindowSize, 2 ** 30]]),
    windowUpdate(0, 2 ** 30),
  );
  assert.ok(await peer.next(ofType(FrameType.settings)));
  peer.connection.pause();
  peer.connection.write(callOf(1, '/test/Blocks'));
  let before = -1;
  while (blocks === 0 || blocks !== before) {
    before = blocks;
    await askVersion(socket, signal);
  }
  assert.ok(blocks < 100, `${blocks} blocks of 64 KiB`);
});

test('a question that is aborted while it connects ends with the reason', async () => {
  const reason = new Error('enough');
  const asking = askVersion(socket, AbortSignal.any([AbortSignal.abort(reason)]));
  await assert.rejects(asking, reason);
  const later = new AbortController();
  const asked = askVersion(socket, later.signal);
  later.abort(reason);
  await assert.rejects(asked, reason);
});

test('pings that are never read are not answered without end', async (t) => {
  const peer = await dial(t, BEGIN);
  assert.ok(await peer.next(ofType(FrameType.settings)));
  peer.connection.pause();
  const pings = Buffer.concat(
    Array.from({ length: 4096 }, () => frame(FrameType.ping, 0, 0, Buffer.alloc(8))),
  );
  // Until it takes no more of them, with what both sockets hold.
  for (let sent = 0; peer.connection.writableLength < 8 << 20; sent += pings.length) {
    assert.ok(sent < 256 << 20, 'it takes pings though nobody reads the answers');
    peer.connection.write(pings);
    await new Promise(setImmediate);
  }
  const own = [...accepted].find((connection) => connection.writableLength > 0);
  assert.ok(own && own.writableLength < 4 << 20, String(own?.writableLength));
  await askVersion(socket, signal);
});

test('odd bytes end their connection alone', async () => {
  const talk = Buffer.concat([
    BEGIN,
    callOf(1),
    windowUpdate(1, 5),
    callOf(3, '/test/Large'),
    rstStream(3, 8),
    callOf(5),
    settings([[4, 9]]),
  ]);
  const change = fc.record({ at: fc.nat(talk.length - 1), byte: fc.nat(255) });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 6 }), fc.nat(talk.length), async (changes, cut) => {
      const bytes = Buffer.from(talk);
      for (const { at, byte } of changes) bytes[at] = byte;
      const { connection } = await dial(undefined, bytes.subarray(0, cut), bytes.subarray(cut));
      await new Promise(setImmediate);
      connection.destroy();
      await askVersion(socket, signal);
    }),
    { numRuns: 200 },
  );
});

test('a request cut at each byte is the same', async (t) => {
  const bytes = Buffer.concat([BEGIN, callOf(1)]);
  for (let cut = 1; cut < bytes.length; cut += 1) {
    const peer = await dial(t, bytes.subarray(0, cut));
    await new Promise(setImmediate);
    peer.connection.write(bytes.subarray(cut));
    assert.ok(await peer.next(ofType(FrameType.data, 1)), String(cut));
    peer.connection.destroy();
  }
});
