import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { CrispError } from '#core/errors.ts';
import { decodeMessage, encodeMessage, type Message, messageLength } from './dbus-message.ts';
import { completeTypes, type DBusValue, ValueReader, ValueWriter } from './dbus-values.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 300 }).filter((value) => !value.includes('\0'));
const basic: readonly [string, fc.Arbitrary<DBusValue>][] = [
  ['y', fc.nat(255)],
  ['n', fc.integer({ min: -32_768, max: 32_767 })],
  ['q', fc.nat(65_535)],
  ['i', fc.integer()],
  ['u', fc.nat(0xffff_ffff)],
  ['x', fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })],
  ['t', fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })],
  ['d', fc.double({ noNaN: true })],
  ['b', fc.boolean()],
  ['s', text],
];

interface Typed {
  readonly type: string;
  readonly value: DBusValue;
}

/** Values of every shape with their types. */
const { typed } = fc.letrec<{ typed: Typed; shape: { type: string; of: fc.Arbitrary<DBusValue> } }>(
  (tie) => ({
    shape: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.constantFrom(...basic.map(([type, of]) => ({ type, of }))),
      tie('shape').map(({ type, of }) => ({
        type: `a${type}`,
        of: fc.array(of, { maxLength: 20 }) as fc.Arbitrary<DBusValue>,
      })),
      fc.array(tie('shape'), { minLength: 1, maxLength: 4 }).map((members) => ({
        type: `(${members.map(({ type }) => type).join('')})`,
        of: fc.tuple(...members.map(({ of }) => of)) as fc.Arbitrary<DBusValue>,
      })),
      tie('shape').map(({ type, of }) => ({
        type: 'v',
        of: of.map((value) => ({ type, value })) as fc.Arbitrary<DBusValue>,
      })),
    ),
    typed: tie('shape').chain(({ type, of }) => of.map((value) => ({ type, value }))),
  }),
);

test('what is written is read, at any place of a message', () => {
  fc.assert(
    fc.property(fc.nat(7), typed, (padding, { type, value }) => {
      const writer = new ValueWriter();
      for (let n = 0; n < padding; n++) writer.put('y', 0);
      writer.put(type, value);
      const reader = new ValueReader(writer.bytes(), true, padding);
      assert.deepEqual(reader.get(type), value);
      assert.equal(reader.at, writer.length);
    }),
  );
});

test('bytes are those of the specification', () => {
  const writer = new ValueWriter();
  writer.put('a(sv)', [['ab', { type: 't', value: 1n }]]);
  const wanted = '18000000 00000000 02000000 616200 01 7400 00000000 0000 0100000000000000';
  assert.equal(writer.bytes().toString('hex'), wanted.replaceAll(' ', ''));
});

test('signatures are split into complete types, or refused', () => {
  assert.deepEqual(completeTypes('ssa(sv)a(sa(sv))a{sv}'), ['s', 's', 'a(sv)', 'a(sa(sv))', 'a{sv}']);
  for (const wrong of ['a', '(', '()', 'z', '(s', 'a{', ')', `${'a'.repeat(40)}s`, 's'.repeat(300)]) {
    assert.throws(() => completeTypes(wrong), CrispError, wrong);
  }
});

test('a value that does not fit its type is refused', () => {
  const wrong: readonly (readonly [string, DBusValue])[] = [
    ['s', 1],
    ['u', 'a'],
    ['t', 1],
    ['(ss)', ['a']],
    ['v', 's'],
    ['v', { type: 'ss', value: 'a' }],
    ['s', 'a\0b'],
    ['b', 1n],
  ];
  for (const [type, value] of wrong)
    assert.throws(() => new ValueWriter().put(type, value), CrispError, type);
});

const call: Message = {
  type: 'call',
  serial: 7,
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
  member: 'StopUnit',
  destination: 'org.freedesktop.systemd1',
  signature: 'ss',
  body: ['a.scope', 'replace'],
};

test('a message keeps its fields and has its length', () => {
  const bytes = encodeMessage(call);
  assert.equal(messageLength(bytes), bytes.length);
  assert.equal(messageLength(bytes.subarray(0, 15)), undefined);
  assert.deepEqual(decodeMessage(bytes), call);
});

test('hostile bytes are an error of crisp, never a crash or an endless loop', () => {
  const whole = encodeMessage(call);
  const changes = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(changes, (bytes) => {
      const message = Buffer.from(whole);
      for (const [at, byte] of bytes) message[at] = byte;
      try {
        const length = messageLength(message) ?? 0;
        decodeMessage(message.subarray(0, length));
      } catch (error) {
        assert.ok(error instanceof CrispError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
