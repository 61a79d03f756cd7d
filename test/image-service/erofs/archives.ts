/** Archives at random: every kind of member, with few names, so that members meet. */
import fc from 'fast-check';
import type { EntrySpec } from '../../harness/tar.ts';

const LONG = 'n'.repeat(255);
/** Sorted as bytes they are in another order than as texts. */
const part = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom('a', 'b', 'c', 'd') },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      'B',
      'a b',
      'a-',
      'a.b',
      'aa',
      '~',
      '\xff\xfe',
      '\x80',
      '\xc3\xbc',
      '\n',
      '\x01',
    ),
  },
  { weight: 1, arbitrary: fc.constantFrom(LONG, `${LONG.slice(1)}m`, '..a', '.hidden', 'wh.', '-') },
);
const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
const shallow = fc.array(part, { minLength: 1, maxLength: 2 }).map((parts) => parts.join('/'));
const anyPath = fc.oneof({ weight: 3, arbitrary: shallow }, { weight: 1, arbitrary: path });
const prefix = fc.oneof(
  { weight: 8, arbitrary: fc.constant('') },
  { weight: 2, arbitrary: fc.constantFrom('./', '/', './/', './././') },
);

const id = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.constantFrom(1, 1000, 65_535, 65_536, 2 ** 31, 2 ** 32 - 2) },
  { weight: 1, arbitrary: fc.nat(2 ** 31 - 1) },
);
const NANO = 1_000_000_000n;
const mtime = fc.oneof(
  fc.constantFrom(0n, 1n, 999_999_999n, -1n, -NANO, -NANO - 1n, 2n ** 31n * NANO, 2n ** 32n * NANO + 5n),
  fc.bigInt(-(2n ** 62n), 2n ** 62n),
  fc.constantFrom(253_402_300_800n * NANO, -62_135_596_800n * NANO, 999_999_999_999n * NANO + 999_999_999n),
);
const mode = fc.oneof(
  { weight: 2, arbitrary: fc.constantFrom(0o644, 0o755, 0o4755, 0o2755, 0o1777) },
  { weight: 1, arbitrary: fc.nat(0o7777) },
);

/** Bytes without a pattern that a reader could guess. */
export function bytesOf(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size);
  let state = (seed + 1) >>> 0;
  for (let at = 0; at < size; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  // How a counterexample shows it.
  Object.defineProperty(bytes, fc.toStringMethod, { value: () => `bytesOf(${size}, ${seed})` });
  return bytes;
}

/** Sizes at which a tail begins or ends to fit beside its inode (of 64 bytes) in a block, and whole blocks. */
const EDGES = [0, 1, 63, 64, 512, 4031, 4032, 4033, 4095, 4096, 4097, 8127, 8128, 8191, 8192, 8193, 12_288];
const size = fc.oneof(fc.constantFrom(...EDGES), fc.nat(20_000));
const content = fc.tuple(size, fc.nat(1000)).map(([length, seed]) => bytesOf(length, seed));

const capability = fc
  .constantFrom(
    '0100000200040000000000000000000000000000',
    '000000020020000000000000000000000000000000000000'.slice(0, 40),
    '0000000300200000000000000000000000000000e8030000',
  )
  .map((hex) => Buffer.from(hex, 'hex'));

/** A valid access control list: its owner, one more user, the group, a mask, all others. */
export function accessList(permissions: readonly number[], user = 1000): Buffer {
  const entries: [tag: number, permission: number, id: number][] = [
    [0x01, permissions[0] ?? 6, 0xffffffff],
    [0x02, permissions[1] ?? 4, user],
    [0x04, permissions[2] ?? 4, 0xffffffff],
    [0x10, permissions[3] ?? 6, 0xffffffff],
    [0x20, permissions[4] ?? 0, 0xffffffff],
  ];
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(2, 0);
  for (const [at, [tag, permission, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + at * 8);
    bytes.writeUInt16LE(permission, 6 + at * 8);
    bytes.writeUInt32LE(id, 8 + at * 8);
  }
  return bytes;
}
const list = fc.tuple(fc.array(fc.nat(7), { minLength: 5, maxLength: 5 }), fc.nat(5000));
const acl = list.map(([permissions, user]) => accessList(permissions, user));

const value = fc.oneof(
  { weight: 6, arbitrary: fc.nat(40) },
  { weight: 2, arbitrary: fc.constantFrom(0, 255, 256, 4000, 4096, 5000) },
  { weight: 1, arbitrary: fc.constantFrom(16_384, 65_535) },
);
const shared = fc
  .constantFrom('user.shared', 'user.other')
  .map((name) => ({ [name]: Buffer.from('the same') }));
const attribute = fc.oneof(
  { weight: 3, arbitrary: shared },
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        fc.constantFrom('user.a', 'user.b', 'user.\xff', `user.${'n'.repeat(250)}`, 'user..'),
        value,
        fc.nat(9),
      )
      .map(([name, length, seed]) => ({ [name]: bytesOf(length, seed) })),
  },
  { weight: 1, arbitrary: capability.map((bytes) => ({ 'security.capability': bytes })) },
  { weight: 1, arbitrary: acl.map((bytes) => ({ 'system.posix_acl_access': bytes })) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom(
        'trusted.foo',
        'security.selinux',
        'security.ima',
        'security.other',
        'com.apple.x',
        'user',
      )
      .map((name) => ({ [name]: Buffer.from('value') })),
  },
);
const xattrs = fc.oneof(
  { weight: 4, arbitrary: fc.constant({}) },
  {
    weight: 1,
    arbitrary: fc
      .array(attribute, { minLength: 1, maxLength: 5 })
      .map((all) => Object.assign({}, ...all) as Record<string, Uint8Array>),
  },
);
const attributes = fc.record({ mode, uid: id, gid: id, mtime, xattrs });

const named = (arbitrary: fc.Arbitrary<string>, suffix = '') =>
  fc.tuple(prefix, arbitrary).map(([before, name]) => ({ name: `${before}${name}${suffix}` }));

/** A member of these names with what its kind adds. */
const member = (
  name: fc.Arbitrary<{ name: string }>,
  own: fc.Arbitrary<Partial<EntrySpec>>,
): fc.Arbitrary<EntrySpec> =>
  fc.tuple(name, attributes, own).map(([names, common, more]) => ({ ...common, ...names, ...more }));

const device = fc.oneof(
  { weight: 3, arbitrary: fc.record({ major: fc.nat(4095), minor: fc.nat(1_048_575) }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom({ major: 0, minor: 0 }, { major: 0, minor: 1 }, { major: 5, minor: 0 }),
  },
);
const target = fc.oneof(
  { weight: 4, arbitrary: anyPath },
  { weight: 2, arbitrary: anyPath.map((name) => `/${name}`) },
  { weight: 2, arbitrary: fc.constantFrom('.', '..', '/', '../..', '../a', 'a/..', './b', 'nowhere') },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 4095 }).map((length) => 'l'.repeat(length)) },
);

/** Pieces in order, with holes of odd sizes between them. */
const sparse = fc
  .array(fc.tuple(fc.nat(30_000), fc.integer({ min: 1, max: 9000 }), fc.nat(99)), { maxLength: 5 })
  .chain((steps) => fc.tuple(fc.constant(steps), fc.constantFrom(0, 1, 4096, 100_000)))
  .map(([steps, rest]) => {
    let at = 0;
    const pieces = steps.map(([gap, length, seed]) => {
      const start = at + gap;
      at = start + length;
      return [start, bytesOf(length, seed)] as const;
    });
    return { sparse: { size: at + rest, pieces } };
  });

const whiteout = fc
  .tuple(prefix, anyPath)
  .map(([before, name]) => ({ name: `${before}${name.replace(/[^/]*$/, (base) => `.wh.${base}`)}` }));
const opaque = fc
  .tuple(
    prefix,
    fc.oneof(
      fc.constant(''),
      anyPath.map((name) => `${name}/`),
    ),
  )
  .map(([before, name]) => ({ name: `${before}${name}.wh..wh..opq` }));
const aufs = anyPath.map((name) => ({ name: `${name}/.wh..wh.plnk` }));

/** One member of a layer's archive. */
export const anyMember: fc.Arbitrary<EntrySpec> = fc.oneof(
  { weight: 8, arbitrary: member(named(anyPath, '/'), fc.constant({ type: 'directory' })) },
  { weight: 8, arbitrary: member(named(anyPath), fc.record({ content })) },
  { weight: 4, arbitrary: member(named(anyPath), fc.record({ type: fc.constant('symlink'), link: target })) },
  {
    weight: 6,
    arbitrary: member(named(anyPath), fc.record({ type: fc.constant('hardlink'), link: anyPath })),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom('character' as const, 'block' as const), device)
      .chain(([type, numbers]) => member(named(anyPath), fc.constant({ type, ...numbers }))),
  },
  { weight: 1, arbitrary: member(named(anyPath), fc.constant({ type: 'fifo' })) },
  { weight: 2, arbitrary: member(named(anyPath), sparse) },
  { weight: 4, arbitrary: member(whiteout, fc.constant({ type: 'file' })) },
  { weight: 3, arbitrary: member(opaque, fc.constant({ type: 'file' })) },
  { weight: 1, arbitrary: member(aufs, fc.constant({ type: 'file' })) },
  {
    weight: 2,
    arbitrary: member(fc.constantFrom({ name: './' }, { name: '/' }), fc.constant({ type: 'directory' })),
  },
);

export const anyArchive: fc.Arbitrary<EntrySpec[]> = fc.array(anyMember, { maxLength: 30, size: 'max' });
