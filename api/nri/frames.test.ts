/** Frames and messages, in pieces of any size. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  BrokenRule,
  FrameReader,
  framed,
  MAX_MESSAGE,
  type Message,
  MessageReader,
  MessageType,
  PLUGIN_SERVICE,
  RUNTIME_SERVICE,
} from './frames.ts';

type Found = Message & { readonly connection: number };

/** Reads pieces as a connection does. */
class Reader {
  readonly frames = new FrameReader();
  readonly messages = new Map([PLUGIN_SERVICE, RUNTIME_SERVICE].map((id) => [id, new MessageReader()]));
  readonly found: Found[] = [];

  push(bytes: Buffer): this {
    for (const { connection, piece } of this.frames.read(bytes))
      for (const message of this.messages.get(connection)?.read(piece) ?? [])
        this.found.push({ connection, ...message, data: Buffer.from(message.data) });
    return this;
  }

  get isWithin(): boolean {
    return this.frames.isWithin || [...this.messages.values()].some((reader) => reader.isWithin);
  }
}

const message = (connection: number, stream: number, data: Buffer): Found => ({
  connection,
  stream,
  type: MessageType.request,
  data,
});
const bytesOf = ({ connection, ...rest }: Found): Buffer => framed(connection, rest);
const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const frame = (connection: number, payload: Buffer): Buffer =>
  Buffer.concat([word(connection), word(payload.length), payload]);

test('a message is a header and its data, in frames', () => {
  const bytes = framed(PLUGIN_SERVICE, { stream: 3, type: MessageType.response, data: Buffer.from('hi') });
  assert.equal(bytes.toString('hex'), `00000001${'0000000c'}${'00000002'}${'00000003'}${'02'}${'00'}6869`);
});

test('the first frame fits the buffer of plugins in Go, and the rest is one frame', () => {
  for (const length of [0, 4086, 4087, 8182, 100_000, MAX_MESSAGE]) {
    const bytes = framed(RUNTIME_SERVICE, { stream: 1, type: 1, data: Buffer.alloc(length, 'x') });
    const lengths: number[] = [];
    for (let at = 0; at < bytes.length; at += 8 + (lengths.at(-1) ?? 0)) {
      assert.equal(bytes.readUInt32BE(at), RUNTIME_SERVICE);
      lengths.push(bytes.readUInt32BE(at + 4));
    }
    assert.deepEqual(lengths, length > 4086 ? [4096, length - 4086] : [length + 10]);
    const [found] = new Reader().push(bytes).found;
    assert.deepEqual(found?.data, Buffer.alloc(length, 'x'));
  }
});

test('messages are found wherever the bytes are cut', () => {
  const sent = [
    message(PLUGIN_SERVICE, 1, Buffer.from('one')),
    message(RUNTIME_SERVICE, 7, Buffer.alloc(0)),
    message(PLUGIN_SERVICE, 3, Buffer.alloc(5000, 'three')),
    message(RUNTIME_SERVICE, 2 ** 32 - 1, Buffer.from([0])),
  ];
  const bytes = Buffer.concat(sent.map(bytesOf));
  for (let cut = 0; cut <= bytes.length; cut++)
    assert.deepEqual(new Reader().push(bytes.subarray(0, cut)).push(bytes.subarray(cut)).found, sent);
  const reader = new Reader();
  for (let at = 0; at < bytes.length; at++) reader.push(bytes.subarray(at, at + 1));
  assert.deepEqual(reader.found, sent);
  assert.equal(reader.isWithin, false);
});

test('messages of both connections are found whatever frames they are in', () => {
  const one = fc
    .tuple(fc.constantFrom(PLUGIN_SERVICE, RUNTIME_SERVICE), fc.nat(), fc.uint8Array({ maxLength: 300 }))
    .map(([connection, stream, data]) => message(connection, stream, Buffer.from(data)));
  const cuts = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 });
  fc.assert(
    fc.property(fc.array(one, { maxLength: 8 }), cuts, cuts, (sent, frameCuts, readCuts) => {
      // Each connection's bytes without the frames, then in frames of other sizes, which alternate.
      const streams = [PLUGIN_SERVICE, RUNTIME_SERVICE].map((connection) => ({
        connection,
        bytes: Buffer.concat(
          sent.filter((m) => m.connection === connection).map((m) => bytesOf(m).subarray(8)),
        ),
      }));
      const frames: Buffer[] = [];
      for (let turn = 0; streams.some(({ bytes }) => bytes.length > 0); turn++) {
        const stream = streams[turn % 2] as (typeof streams)[0];
        const size = frameCuts[turn % frameCuts.length] as number;
        frames.push(frame(stream.connection, stream.bytes.subarray(0, size)));
        stream.bytes = stream.bytes.subarray(size);
      }
      const all = Buffer.concat(frames);
      const reader = new Reader();
      for (let at = 0, turn = 0; at < all.length; turn++) {
        const size = readCuts[turn % readCuts.length] as number;
        reader.push(all.subarray(at, at + size));
        at += size;
      }
      assert.equal(reader.isWithin, false);
      for (const connection of [PLUGIN_SERVICE, RUNTIME_SERVICE])
        assert.deepEqual(
          reader.found.filter((m) => m.connection === connection),
          sent.filter((m) => m.connection === connection),
        );
    }),
    { numRuns: 200 },
  );
});

test('a reader knows whether it is within a message', () => {
  const bytes = bytesOf(message(PLUGIN_SERVICE, 1, Buffer.alloc(5000)));
  for (let cut = 0; cut <= bytes.length; cut++)
    assert.equal(
      new Reader().push(bytes.subarray(0, cut)).isWithin,
      cut > 0 && cut < bytes.length,
      String(cut),
    );
});

test('what NRI and ttrpc do not allow is refused by its header alone', () => {
  const refused = (bytes: Buffer, pattern: RegExp) =>
    assert.throws(
      () => new Reader().push(bytes),
      (error) => error instanceof BrokenRule && pattern.test(error.message),
    );
  refused(Buffer.concat([word(0), word(0)]), /connection 0/);
  refused(Buffer.concat([word(3), word(10)]), /connection 3/);
  refused(Buffer.from('GET / HTTP/1.1'), /connection \d+/);
  refused(Buffer.concat([word(1), word(MAX_MESSAGE + 11)]), /a frame of 4194315 bytes/);
  const header = Buffer.concat([word(MAX_MESSAGE + 1), word(1), Buffer.from([1, 0])]);
  refused(frame(1, header), /a message of 4194305 bytes/);
  new Reader().push(Buffer.concat([word(1), word(MAX_MESSAGE + 10)]));
  assert.deepEqual(new Reader().push(Buffer.alloc(8 * 1000, Buffer.concat([word(2), word(0)]))).found, []);
});

test('random bytes never give more than they are', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const reader = new Reader();
      try {
        reader.push(Buffer.from(bytes));
      } catch (error) {
        assert.ok(error instanceof BrokenRule);
      }
      assert.ok(reader.found.reduce((sum, { data }) => sum + data.length + 18, 0) <= bytes.length + 18);
    }),
    { numRuns: 500 },
  );
});
