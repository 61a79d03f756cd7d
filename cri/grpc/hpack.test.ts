import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:http2';
import { Duplex } from 'node:stream';
import test from 'node:test';
import fc from 'fast-check';
import { ConnectionError, FrameReader, FrameType, frame, settings } from './frames.ts';
import { HeaderBlock } from './header-block.ts';
import { encodeHeaders, type HeaderField, HpackDecoder } from './hpack.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

test('the examples of RFC 7541, C.3 and C.4: a connection’s three requests, without and with Huffman’s code', () => {
  const requests: readonly (readonly HeaderField[])[] = [
    [
      [':method', 'GET'],
      [':scheme', 'http'],
      [':path', '/'],
      [':authority', 'www.example.com'],
    ],
    [
      [':method', 'GET'],
      [':scheme', 'http'],
      [':path', '/'],
      [':authority', 'www.example.com'],
      ['cache-control', 'no-cache'],
    ],
    [
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', '/index.html'],
      [':authority', 'www.example.com'],
      ['custom-key', 'custom-value'],
    ],
  ];
  const plain = [
    '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
    '8286 84be 5808 6e6f 2d63 6163 6865',
    '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
  ];
  const huffman = [
    '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
    '8286 84be 5886 a8eb 1064 9cbf',
    '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
  ];
  for (const blocks of [plain, huffman]) {
    const decoder = new HpackDecoder(4096);
    for (const [index, block] of blocks.entries())
      assert.deepEqual(decoder.decode(hex(block)), requests[index]);
  }
});

test('what is encoded is decoded', () => {
  const decoder = new HpackDecoder(1 << 20);
  const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,40}$/);
  const value = fc.stringMatching(/^[ -~]{0,300}$/);
  const fields = fc.array(fc.tuple(name, value), { maxLength: 20 });
  fc.assert(fc.property(fields, (sent) => assert.deepEqual(decoder.decode(encodeHeaders(sent)), sent)));
});

/** What nghttp2, the library of node:http2, sends for these requests: its own use of the table and of Huffman's code. */
async function blocksOf(requests: readonly (readonly HeaderField[])[]): Promise<HeaderBlock[]> {
  const reader = new FrameReader();
  const blocks: HeaderBlock[] = [];
  let open: HeaderBlock | undefined;
  const wire = new Duplex({
    read() {},
    write(bytes: Buffer, _encoding, done) {
      reader.push(bytes);
      for (let next = reader.next(); next; next = reader.next()) {
        if (next.type === FrameType.headers) open = HeaderBlock.of(next, 1 << 20);
        else if (next.type === FrameType.continuation) open?.add(next);
        if (open?.isWhole && !blocks.includes(open)) blocks.push(open);
      }
      wire.emit('progress');
      done();
    },
  });
  const session = connect('http://localhost', { createConnection: () => wire as never });
  session.on('error', () => {});
  wire.push(settings([]));
  for (const fields of requests) session.request(Object.fromEntries(fields)).on('error', () => {});
  while (blocks.length < requests.length) await once(wire, 'progress');
  session.destroy();
  return blocks;
}

test('what nghttp2 encodes is decoded, entries of its table evicted and used again', async () => {
  // Names and values of few kinds, so that entries repeat; some as large as half of the table.
  const value = fc.oneof(
    fc.constantFrom('a', 'application/grpc', '119999m', 'x'.repeat(1900), '\u007f~}|{'),
    fc.stringMatching(/^[!-~]{1,60}$/),
  );
  const name = fc.constantFrom('x-one', 'x-two', 'x-three', 'user-agent', 'grpc-timeout', 'traceparent');
  const request = fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 30 }), async (requests) => {
      const decoder = new HpackDecoder(1 << 16);
      const blocks = await blocksOf(requests);
      for (const [index, block] of blocks.entries()) {
        const sent = requests[index] as HeaderField[];
        const own = new Set(sent.map(([key]) => key));
        const found = decoder.decode(block.bytes)?.filter(([key]) => own.has(key));
        assert.deepEqual(Object.fromEntries(found ?? []), Object.fromEntries(sent));
      }
    }),
    { numRuns: 30 },
  );
});

test('a malformed block is refused', () => {
  for (const [why, block] of Object.entries({
    'index 0': '80',
    'an index beyond both tables': 'be',
    'an index without its end': 'ff',
    'an integer that never ends': 'ff ff ff ff ff ff ff ff 7f',
    'a string that is shorter than it says': '40 0a 63 75',
    'a name without a value': '40 01 61',
    'a table that is larger than allowed': '3f e2 1f',
    'a change of the table amid fields': '82 20',
    'the end of the string in Huffman’s code': '00 84 ff ff ff ff 01 61',
    'padding of more than seven bits': '00 82 1f ff 01 61',
    'padding of zeros': '00 81 18 01 61',
  }))
    assert.throws(() => new HpackDecoder(4096).decode(hex(block)), ConnectionError, why);
});

test('too many fields are told apart from malformed ones: the table stays right', () => {
  const decoder = new HpackDecoder(100);
  const long = Buffer.concat([hex('40 01 61 7f 80 01'), Buffer.alloc(255, 'v')]);
  assert.equal(decoder.decode(long), undefined);
  const twice = Buffer.concat([hex('40 01 62 01 63'), long]);
  assert.equal(decoder.decode(twice), undefined);
  assert.deepEqual(decoder.decode(hex('bf')), [['b', 'c']]);
});

test('a table of no bytes keeps nothing', () => {
  const decoder = new HpackDecoder(4096);
  assert.deepEqual(decoder.decode(hex('20 40 01 61 01 62')), [['a', 'b']]);
  assert.throws(() => decoder.decode(hex('be')), ConnectionError);
});

test('frames come whole, however they are cut', () => {
  const frames = [
    frame(FrameType.ping, 0, 0, Buffer.alloc(8, 1)),
    settings([[3, 4]]),
    frame(0, 1, 5, Buffer.alloc(300, 2)),
  ];
  const bytes = Buffer.concat(frames);
  for (let size = 1; size <= bytes.length; size += 1) {
    const reader = new FrameReader(false);
    const found: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) {
      reader.push(bytes.subarray(at, at + size));
      for (let next = reader.next(); next; next = reader.next())
        found.push(frame(next.type, next.flags, next.stream, next.payload));
    }
    assert.deepEqual(found, frames);
  }
});
