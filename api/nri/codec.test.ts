/** Messages against protobufjs, which reads the same proto at run time, and bytes that are none. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import type { FieldRow } from './codec.ts';
import { fields, type MessageName } from './generated/api.js';
import { messages as codec } from './messages.ts';

const root = new protobuf.Root().loadSync(join(import.meta.dirname, 'nri.proto'));
const reference = (name: string): protobuf.Type => root.lookupType(`nri.pkg.api.v1alpha1.${name}`);

const SCALARS: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  string: fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('', '__proto__', 'constructor', '-X')),
  bool: fc.boolean(),
  int32: fc.oneof(fc.integer(), fc.constantFrom(0, -1, 2 ** 31 - 1, -(2 ** 31))),
  uint32: fc.oneof(fc.nat(), fc.constantFrom(0, 2 ** 32 - 1)),
  int64: fc.oneof(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), fc.constantFrom(0n, -1n, 2n ** 53n + 1n)),
  uint64: fc.oneof(fc.bigInt(0n, 2n ** 64n - 1n), fc.constantFrom(0n, 2n ** 53n + 1n)),
};

/** Any message of this type as it is received: all fields are there. */
function message(name: string): fc.Arbitrary<object> {
  const rows: readonly FieldRow[] = fields[name as MessageName];
  const entries = rows.map(([, field, type, shape]): [string, fc.Arbitrary<unknown>] => {
    const value = SCALARS[type] ?? message(type);
    if (shape === 'list') return [field, fc.array(value, { maxLength: 3 })];
    const key = shape === 'string' ? SCALARS['string'] : SCALARS['int32']?.map(String);
    if (shape !== 'one')
      return [
        field,
        fc.dictionary(key as fc.Arbitrary<string>, value, { maxKeys: 3, noNullPrototype: false }),
      ];
    return [field, SCALARS[type] ? value : fc.option(value, { nil: undefined, freq: 1 })];
  });
  return fc.record(Object.fromEntries(entries), { noNullPrototype: true });
}

/** 64-bit values as text, as protobufjs gives them; without what is not set. */
const plain = (value: unknown): unknown => {
  if (typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, item]) => (item === undefined ? [] : [[key, plain(item)]])),
  );
};

const viaReference = (name: string, bytes: Uint8Array): unknown =>
  plain(
    reference(name).toObject(reference(name).decode(bytes), {
      longs: String,
      defaults: true,
      arrays: true,
      objects: true,
    }),
  );

/** protobufjs gives a null for a message that is absent. */
const withoutNulls = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, item]) => (item === null ? [] : [[key, withoutNulls(item)]])),
  );
};

for (const name of [
  'CreateContainerResponse',
  'SynchronizeRequest',
  'ValidateContainerAdjustmentRequest',
] as const)
  test(`${name} is the same for protobufjs, both ways`, () => {
    fc.assert(
      fc.property(message(name), (value) => {
        const bytes = codec.encode(name, value);
        assert.deepEqual(withoutNulls(viaReference(name, bytes)), plain(value));
        assert.deepEqual(plain(codec.decode(name, bytes)), plain(value));
        const theirs = reference(name)
          .encode(reference(name).fromObject(plain(value) as object))
          .finish();
        assert.deepEqual(plain(codec.decode(name, theirs)), plain(value));
      }),
      { numRuns: 60 },
    );
  });

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

test('what is set to its default is there, and what is not is undefined', () => {
  const sent = { memory: { limit: { value: 0n }, swap: {} }, cpu: { quota: { value: -1n } } };
  const received = codec.decode('LinuxResources', codec.encode('LinuxResources', sent));
  assert.deepEqual(received.memory?.limit, { value: 0n });
  assert.deepEqual(received.memory?.swap, { value: 0n });
  assert.equal(received.memory?.reservation, undefined);
  assert.deepEqual(received.cpu?.quota, { value: -1n });
  assert.equal(received.pids, undefined);
  assert.deepEqual(codec.encode('LinuxMemory', { limit: {} }), hex('0a 00'));
});

test('64-bit values keep all their digits', () => {
  for (const value of [2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, -1n]) {
    const bytes = codec.encode('OptionalInt64', { value });
    assert.deepEqual(codec.decode('OptionalInt64', bytes), { value });
  }
  const { limit } = codec.decode('HugepageLimit', codec.encode('HugepageLimit', { limit: 2n ** 64n - 1n }));
  assert.equal(limit, 2n ** 64n - 1n);
});

test('a number that does not fit its field is not sent', () => {
  for (const encode of [
    () => codec.encode('OptionalInt64', { value: 2n ** 63n }),
    () => codec.encode('OptionalUInt64', { value: -1n }),
    () => codec.encode('OptionalUInt32', { value: -1 }),
    () => codec.encode('OptionalUInt32', { value: 2 ** 32 }),
    () => codec.encode('OptionalInt32', { value: 0.5 }),
    () => codec.encode('OptionalInt32', { value: Number.NaN }),
  ])
    assert.throws(encode, { name: 'CrispError', code: 'Internal' });
});

test('unknown fields, and known ones of another wire type, are skipped', () => {
  const known = codec.encode('CDIDevice', { name: 'a.b/c=d' });
  // A varint in field 100, 8 bytes in 101, bytes in 102, a group in 103, 4 bytes in 104; field 1 as a varint.
  const unknown = hex('a006 05 a906 0102030405060708 b206 02 6869 bb06 0801 bc06 c506 01020304 0805');
  assert.deepEqual(codec.decode('CDIDevice', Buffer.concat([unknown, known, unknown])), { name: 'a.b/c=d' });
});

test('repeated numbers are read packed and one by one, and a message in two parts is one', () => {
  const gids = (bytes: string) => codec.decode('User', hex(bytes)).additionalGids;
  assert.deepEqual(gids('1a 03 05 ac 02'), [5, 300]);
  assert.deepEqual(gids('18 05 18 ac 02'), [5, 300]);
  assert.deepEqual(gids('18 05 1a 01 07'), [5, 7]);
  assert.deepEqual(codec.encode('User', { additionalGids: [5, 300] }), hex('1a 03 05 ac 02'));
  const parts = Buffer.concat([
    codec.encode('ContainerUpdate', { linux: { resources: { memory: { limit: { value: 5n } } } } }),
    codec.encode('ContainerUpdate', { linux: { resources: { memory: { swap: { value: 6n } } } } }),
  ]);
  const { memory } = codec.decode('ContainerUpdate', parts).linux?.resources ?? {};
  assert.deepEqual([memory?.limit, memory?.swap], [{ value: 5n }, { value: 6n }]);
});

test('keys of maps are only what was sent', () => {
  const labels = Object.fromEntries([['__proto__', 'a']]);
  const received = codec.decode('PodSandbox', codec.encode('PodSandbox', { labels })).labels;
  assert.deepEqual(Object.entries(received), [['__proto__', 'a']]);
  assert.equal(received['constructor'], undefined);
  const owners = { simple: { 1: '10-a', 40: '20-b' } };
  assert.deepEqual(
    { ...codec.decode('FieldOwners', codec.encode('FieldOwners', owners)).simple },
    owners.simple,
  );
  assert.deepEqual(Object.entries(codec.decode('PodSandbox', hex('2a 00')).labels), [['', '']]);
});

test('text is UTF-8', () => {
  assert.throws(() => codec.decode('CDIDevice', hex('0a 02 c328')));
  const { name } = codec.decode('CDIDevice', codec.encode('CDIDevice', { name: 'a\ud800b' }));
  assert.equal(name, 'a\ufffdb');
});

test('malformed bytes are refused, wherever they end', () => {
  for (const bytes of [
    '0a',
    '0a 05 61',
    '0a ff ff ff ff 0f',
    'ff ff ff ff ff ff',
    '00 00',
    '0c',
    '0b',
    'b3 06',
    '07',
  ])
    assert.throws(() => codec.decode('CDIDevice', hex(bytes)), bytes);
  // The inner message is longer than the outer one, and a field is longer than the inner one.
  assert.throws(() => codec.decode('ContainerUpdate', hex('12 05 0a 00')));
  assert.throws(() => codec.decode('ContainerUpdate', hex('12 02 0a 02 0a 00')));
  const whole = codec.encode('CreateContainerResponse', {
    adjust: { annotations: { key: 'value' }, linux: { resources: { memory: { limit: { value: 5n } } } } },
  });
  for (let length = 1; length < whole.length; length++)
    assert.throws(() => codec.decode('CreateContainerResponse', whole.subarray(0, length)), String(length));
});

test('random bytes give a message or an error, and damaged messages too', () => {
  const rejects = (bytes: Uint8Array) => {
    try {
      codec.decode('CreateContainerResponse', bytes);
    } catch (error) {
      const isBug = error instanceof TypeError && !/not valid for encoding utf-8/.test(error.message);
      assert.ok(error instanceof Error && !isBug, String(error));
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), rejects), { numRuns: 500 });
  const damaged = fc
    .tuple(message('CreateContainerResponse'), fc.nat(), fc.nat(255))
    .map(([value, at, byte]) => {
      const bytes = codec.encode('CreateContainerResponse', value);
      if (bytes.length > 0) bytes[at % bytes.length] = byte;
      return bytes;
    });
  fc.assert(fc.property(damaged, rejects), { numRuns: 200 });
});

test('a message holds a bounded number of values', () => {
  const bytes = codec.encode('UpdateContainersRequest', { update: Array.from({ length: 50 }, () => ({})) });
  assert.equal(codec.decode('UpdateContainersRequest', bytes, 50).update.length, 50);
  assert.throws(() => codec.decode('UpdateContainersRequest', bytes, 49), { code: 'ResourceExhausted' });
  const map = codec.encode('PodSandbox', {
    labels: Object.fromEntries(Array.from({ length: 50 }, (_, i) => [i, ''])),
  });
  assert.throws(() => codec.decode('PodSandbox', map, 49), { code: 'ResourceExhausted' });
  const packed = codec.encode('User', { additionalGids: Array.from({ length: 50 }, () => 1) });
  assert.throws(() => codec.decode('User', packed, 49), { code: 'ResourceExhausted' });
  assert.throws(() => codec.decode('UpdateContainersRequest', Buffer.alloc(4 * 2 ** 20, hex('0a 00'))), {
    code: 'ResourceExhausted',
  });
});
