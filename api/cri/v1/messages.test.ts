/** The compiled messages: encoding loses nothing, and malformed bytes are an error. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { cri, fromBigInt, runtimeServiceDefinition, toBigInt } from './index.ts';

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const text = fc.string({ unit: 'grapheme' });
const trickyKey = fc.constantFrom('constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf', '');
const map = fc.dictionary(fc.oneof(text, trickyKey), text, { maxKeys: 8 });

const entries = (record: Record<string, string>) =>
  Object.keys(record)
    .sort()
    .map((key) => [key, record[key]]);

test('64-bit values are encoded exactly', () => {
  fc.assert(
    fc.property(int64, (value) => {
      const bytes = cri.PodSandboxStatus.encode({ createdAt: fromBigInt(value) }).finish();
      assert.equal(toBigInt(cri.PodSandboxStatus.decode(bytes).createdAt), value);
    }),
  );
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
      const bytes = cri.UInt64Value.encode({ value: fromBigInt(value) }).finish();
      assert.equal(toBigInt(cri.UInt64Value.decode(bytes).value), value);
    }),
  );
  assert.equal(toBigInt(cri.Int64Value.decode(new Uint8Array()).value), 0n);
  assert.equal(toBigInt(undefined), 0n);
  for (const value of [2n ** 64n, -(2n ** 63n) - 1n]) assert.throws(() => fromBigInt(value), /does not fit/);
});

test('maps keep any key', () => {
  fc.assert(
    fc.property(map, map, (labels, annotations) => {
      const decoded = cri.PodSandboxConfig.decode(
        cri.PodSandboxConfig.encode({ labels, annotations }).finish(),
      );
      assert.deepEqual(entries(decoded.labels), entries(labels));
      assert.deepEqual(entries(decoded.annotations), entries(annotations));
    }),
  );
});

test('a key of Object.prototype exists only when it was sent', () => {
  const none = cri.Container.decode(cri.Container.encode({ labels: {} }).finish());
  assert.equal(none.labels['constructor'], undefined);
  const labels = JSON.parse('{"__proto__": "a", "constructor": "b", "toString": "c"}') as Record<
    string,
    string
  >;
  const some = cri.Container.decode(cri.Container.encode({ labels }).finish());
  assert.deepEqual(entries(some.labels), [
    ['__proto__', 'a'],
    ['constructor', 'b'],
    ['toString', 'c'],
  ]);
  assert.equal(({} as Record<string, unknown>)['a'], undefined);
  const again = cri.Container.decode(cri.Container.encode(some).finish());
  assert.deepEqual(entries(again.labels), entries(labels));
  const json = JSON.stringify(cri.Container.toObject(some));
  assert.deepEqual(entries((JSON.parse(json) as { labels: Record<string, string> }).labels), entries(labels));
});

test('whole messages are the same after encoding, decoding and JSON', () => {
  const status = fc.record({
    id: text,
    metadata: fc.option(fc.record({ name: text, attempt: fc.nat(0xffffffff) })),
    state: fc.integer({ min: 0, max: 3 }),
    createdAt: int64.map(fromBigInt),
    exitCode: fc.integer(),
    labels: map,
    mounts: fc.array(
      fc.record({
        containerPath: text,
        readonly: fc.boolean(),
        uidMappings: fc.array(fc.record({ hostId: fc.nat() })),
      }),
    ),
    user: fc.option(fc.record({ linux: fc.record({ supplementalGroups: fc.array(int64.map(fromBigInt)) }) })),
  });
  fc.assert(
    fc.property(status, (value) => {
      const bytes = cri.ContainerStatus.encode(value).finish();
      const decoded = cri.ContainerStatus.decode(bytes);
      assert.deepEqual(cri.ContainerStatus.encode(decoded).finish(), bytes);
      const object = cri.ContainerStatus.toObject(decoded, { longs: String, enums: String, bytes: String });
      const parsed = JSON.parse(JSON.stringify(object)) as Record<string, unknown>;
      assert.deepEqual(cri.ContainerStatus.encode(cri.ContainerStatus.fromObject(parsed)).finish(), bytes);
    }),
  );
});

test('an absent message and an empty one stay distinct', () => {
  const absent = cri.PodSandboxConfig.decode(cri.PodSandboxConfig.encode({}).finish());
  const empty = cri.PodSandboxConfig.decode(cri.PodSandboxConfig.encode({ dnsConfig: {} }).finish());
  assert.equal(absent.dnsConfig, null);
  assert.deepEqual(empty.dnsConfig?.servers, []);
});

test('unknown enum numbers and unknown fields are accepted', () => {
  const bytes = cri.Container.encode({ state: 77, id: 'x' }).finish();
  assert.equal(cri.Container.decode(bytes).state, 77);
  const withUnknown = Buffer.concat([bytes, Buffer.from([0xfa, 0x3f, 3, 1, 2, 3])]); // field 1023, three bytes
  assert.equal(cri.Container.decode(withUnknown).id, 'x');
});

test('environment values are bytes', () => {
  const value = Buffer.from([0xff, 0x00, 0xfe]);
  const decoded = cri.KeyValue.decode(cri.KeyValue.encode({ key: 'K', value }).finish());
  assert.deepEqual(Buffer.from(decoded.value), value);
});

const { requestDeserialize: decodeCreate } = runtimeServiceDefinition.CreateContainer;

test('every truncation of a message is an error or a shorter message, never a hang', () => {
  const bytes = Buffer.from(
    cri.CreateContainerRequest.encode({
      podSandboxId: 'p'.repeat(64),
      config: { metadata: { name: 'c' }, labels: { a: 'b' }, envs: [{ key: 'K', value: Buffer.from('v') }] },
    }).finish(),
  );
  let refused = 0;
  for (let length = 0; length < bytes.length; length++) {
    try {
      decodeCreate(bytes.subarray(0, length));
    } catch (error) {
      refused++;
      assert.match(String(error), /malformed CreateContainerRequest/);
    }
  }
  assert.ok(refused > bytes.length / 2);
});

test('random bytes are an error or a message', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        decodeCreate(Buffer.from(bytes));
      } catch (error) {
        assert.match(String(error), /malformed/);
      }
    }),
    { numRuns: 2000 },
  );
});

test('a length beyond the message, an endless varint and deep groups are refused', () => {
  const hostile: [string, number[]][] = [
    ['length of 4 GiB', [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]],
    ['varint of eleven bytes', [0x0a, ...new Array<number>(11).fill(0xff)]],
    ['field number 0', [0x02, 0x00]],
    ['invalid UTF-8 in a string', [0x0a, 0x02, 0xc3, 0x28]],
    ['200000 open groups', new Array<number>(200_000).fill(0x0b)],
  ];
  for (const [what, bytes] of hostile)
    assert.throws(() => decodeCreate(Buffer.from(bytes)), /malformed/, what);
});

test('serializers return a Buffer over the same bytes', () => {
  const buffer = runtimeServiceDefinition.Version.responseSerialize({ version: '0.1.0' });
  assert.ok(Buffer.isBuffer(buffer));
  assert.equal(runtimeServiceDefinition.Version.responseDeserialize(buffer).version, '0.1.0');
});
