/** The framing of SPDY, with valid and with hostile frames. */
import assert from 'node:assert/strict';
import { duplexPair } from 'node:stream';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { constants, inflateSync } from 'node:zlib';
import fc from 'fast-check';
import { headerDictionary } from './dictionary.ts';
import * as frames from './frames.ts';
import { encodeHeaders, HeaderDeflater, HeaderInflater, parseHeaders } from './headers.ts';
import { SpdySession } from './session.ts';

/** The bytes, split anywhere. */
function* pieces(bytes: Buffer, cuts: readonly number[]): Generator<Buffer> {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  for (let n = 1; n < at.length; n++) yield bytes.subarray(at[n - 1], at[n]);
}

const headers = fc.dictionary(fc.stringMatching(/^[a-z-]{1,20}$/), fc.stringMatching(/^[ -~]{0,40}$/), {
  maxKeys: 10,
});

test('the dictionary is the one of the specification', () => {
  assert.equal(headerDictionary.length, 1423);
  // Adler-32, by which zlib names it.
  let [a, b] = [1, 0];
  for (const byte of headerDictionary) {
    a = (a + byte) % 65_521;
    b = (b + a) % 65_521;
  }
  assert.equal(((b << 16) | a) >>> 0, 0xe3c6a7c2);
});

test('what is packed in stored blocks is unpacked by zlib, block after block', () => {
  fc.assert(
    fc.property(fc.array(headers, { minLength: 1, maxLength: 5 }), (many) => {
      const deflater = new HeaderDeflater();
      const packed = Buffer.concat(many.map((one) => deflater.write(new Map(Object.entries(one)))));
      const plain = inflateSync(packed, {
        finishFlush: constants.Z_SYNC_FLUSH,
        dictionary: headerDictionary,
      });
      assert.deepEqual(plain, Buffer.concat(many.map((one) => encodeHeaders(new Map(Object.entries(one))))));
    }),
  );
});

test('blocks of one session are read in their order, and headers are read back unchanged', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(headers, { minLength: 1, maxLength: 5 }), async (many) => {
      using inflater = new HeaderInflater();
      const deflater = new HeaderDeflater();
      for (const one of many) {
        const read = await inflater.read(deflater.write(new Map(Object.entries(one))));
        assert.deepEqual([...read], Object.entries(one));
      }
    }),
  );
});

test('any header block gives headers or an error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        parseHeaders(Buffer.from(bytes));
      } catch (error) {
        assert.match(String(error), /header/);
      }
    }),
  );
});

const frame = fc.oneof(
  fc.record({
    type: fc.integer({ min: 0, max: 12 }),
    flags: fc.nat(255),
    payload: fc.uint8Array({ maxLength: 60 }),
  }),
  fc.record({ stream: fc.nat(20), fin: fc.boolean(), payload: fc.uint8Array({ maxLength: 300 }) }),
);
type Given = typeof frame extends fc.Arbitrary<infer T> ? T : never;
const encode = (one: Given): Buffer => {
  const payload = Buffer.from(one.payload);
  if ('type' in one) return frames.controlFrame(one.type, one.flags, payload);
  return Buffer.concat([frames.dataHeader(one.stream, payload.length, one.fin), payload]);
};

test('frames are found however their bytes arrive', () => {
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 8 }),
      fc.array(fc.nat(2000), { maxLength: 10 }),
      (given, cuts) => {
        const reader = new frames.FrameReader();
        const found: { key: string; bytes: Buffer[]; fin: boolean }[] = [];
        let open = false;
        for (const piece of pieces(Buffer.concat(given.map(encode)), cuts)) {
          for (const one of reader.read(piece)) {
            const key = one.kind === 'control' ? `control ${one.type} ${one.flags}` : `data ${one.stream}`;
            const bytes = one.kind === 'control' ? one.payload : one.bytes;
            const last = found.at(-1);
            if (open && last && one.kind === 'data') last.bytes.push(bytes);
            else found.push({ key, bytes: [bytes], fin: false });
            const at = found.at(-1);
            const requested = given[found.length - 1];
            const got = at?.bytes.reduce((sum, part) => sum + part.length, 0) ?? 0;
            open = one.kind === 'data' && got < (requested?.payload.length ?? 0);
            if (at && one.kind === 'data') at.fin = one.fin;
          }
        }
        assert.deepEqual(
          found.map(({ key, bytes, fin }) => [key, Buffer.concat(bytes).toString('hex'), fin]),
          given.map((one) => [
            'type' in one ? `control ${one.type} ${one.flags}` : `data ${one.stream}`,
            Buffer.from(one.payload).toString('hex'),
            'fin' in one && one.fin,
          ]),
        );
      },
    ),
  );
});

/** A session that echoes each stream; waits for its end, orderly or not. */
async function feed(parts: Iterable<Buffer>): Promise<{ reason: string | undefined; answered: number }> {
  const [near, far] = duplexPair();
  let answered = 0;
  far.on('data', (bytes: Buffer) => {
    answered += bytes.length;
  });
  const session = new SpdySession(near, Buffer.alloc(0), {
    maxStreams: 8,
    onStream: (stream) => stream.pipe(stream),
  });
  for (const part of parts) {
    if (!far.destroyed && !far.writableEnded) far.write(part);
    await turn();
  }
  far.end();
  const reason = await session.ended;
  far.destroy();
  near.destroy();
  return { reason, answered };
}

test('a session survives any bytes: it ends, with a reason or without', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          frame.map(encode),
          fc.uint8Array({ maxLength: 100 }).map((b) => Buffer.from(b)),
        ),
        { maxLength: 20 },
      ),
      fc.array(fc.nat(3000), { maxLength: 6 }),
      async (parts, cuts) => {
        const { answered } = await feed(pieces(Buffer.concat(parts), cuts));
        // Echo and answers: no more than came, and a little for each frame.
        assert.ok(answered <= 64 + 40 * parts.length + 2 * Buffer.concat(parts).length, `${answered} bytes`);
      },
    ),
    { numRuns: 200 },
  );
});

test('a session survives any order of frames about existing streams', async () => {
  const opening = fc.constantFrom(1, 3, 5, 7, 9).map((id) => ({ open: id }));
  const about = fc.record({
    type: fc.constantFrom(3, 4, 6, 7, 8, 9, 2),
    id: fc.constantFrom(0, 1, 3, 5, 7, 9, 11),
    value: fc.nat(0xffff_ffff),
  });
  const data = fc.record({
    id: fc.constantFrom(1, 3, 5),
    fin: fc.boolean(),
    payload: fc.uint8Array({ maxLength: 500 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(opening, about, data), { maxLength: 25 }), async (acts) => {
      const deflater = new HeaderDeflater();
      const parts = acts.map((act) => {
        if ('open' in act) {
          const block = deflater.write(new Map([['streamtype', 'x']]));
          return frames.controlFrame(frames.SYN_STREAM, 0, frames.words(act.open, 0), Buffer.alloc(2), block);
        }
        if ('type' in act) return frames.controlFrame(act.type, 0, frames.words(act.id, act.value));
        return Buffer.concat([frames.dataHeader(act.id, act.payload.length, act.fin), act.payload]);
      });
      await feed(parts);
    }),
    { numRuns: 200 },
  );
});

interface Peer {
  readonly session: SpdySession;
  /** Sends a WINDOW_UPDATE; stream 0 is the session. */
  widen(stream: number, bytes: number): void;
  /** Waits until that many bytes of data have come, and sees that no more do. */
  settled(bytes: number): Promise<void>;
}

/** A peer that has opened one stream, on which crisp has 1 MiB to send; `window`: the window of its SETTINGS, if any. */
function peerOf(window: number | undefined): Peer {
  const [near, far] = duplexPair();
  let data = 0;
  const reader = new frames.FrameReader();
  far.on('data', (bytes: Buffer) => {
    for (const one of reader.read(bytes)) if (one.kind === 'data') data += one.bytes.length;
  });
  const session = new SpdySession(near, Buffer.alloc(0), {
    maxStreams: 8,
    onStream: (stream) => void stream.write(Buffer.alloc(1 << 20)),
  });
  if (window !== undefined) {
    const settings = Buffer.concat([frames.words(1), frames.words(frames.SETTING_INITIAL_WINDOW, window)]);
    far.write(frames.controlFrame(frames.SETTINGS, 0, settings));
  }
  const block = new HeaderDeflater().write(new Map([['streamtype', 'x']]));
  far.write(frames.controlFrame(frames.SYN_STREAM, 0, frames.words(1, 0), Buffer.alloc(2), block));
  return {
    session,
    widen: (stream, bytes) =>
      far.write(frames.controlFrame(frames.WINDOW_UPDATE, 0, frames.words(stream, bytes))),
    settled: async (bytes) => {
      // Headers are decompressed in a thread of the pool, which may be slow.
      for (let n = 0; n < 2000 && data < bytes; n++) await new Promise((resolve) => setTimeout(resolve, 5));
      for (let n = 0; n < 20; n++) await turn();
      assert.equal(data, bytes);
    },
  };
}

test('a peer that counts windows is not sent more than it allows', async () => {
  const { session, widen, settled } = peerOf(1000);
  await settled(1000);
  widen(1, 500);
  await settled(1500);
  widen(1, 1 << 20);
  await settled(frames.INITIAL_WINDOW); // that of the session is used up
  widen(0, 1 << 21);
  await settled(1 << 20);
  session.destroy();
  await session.ended;
});

test('a peer that counts the windows of streams alone is not waited for at the end of a session window', async () => {
  const { session, widen, settled } = peerOf(1 << 15);
  await settled(1 << 15);
  for (let sent = 1 << 15; sent < 1 << 20; sent += 1 << 15) {
    widen(1, 1 << 15);
    await settled(sent + (1 << 15));
  }
  session.destroy();
  await session.ended;
});
