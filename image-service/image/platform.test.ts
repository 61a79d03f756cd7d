import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { CrispError, hasCode } from '#core/errors.ts';
import { parseManifest } from './manifest.ts';
import { choosePlatform, isForeign, normalPlatform } from './platform.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';
const digest = (n: number): string => `sha256:${String(n).padStart(64, '0')}`;

interface Item {
  readonly platform?: unknown;
  readonly mediaType?: unknown;
  readonly digest?: unknown;
  readonly annotations?: unknown;
}

/** The position of the chosen entry. */
function chosen(items: readonly unknown[], node: string): number {
  const full = items.map((item, n) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? { mediaType: MANIFEST, digest: digest(n), size: 1, ...(item as Item) }
      : item,
  );
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: full }));
  const index = parseManifest(bytes, INDEX, 'index');
  assert.ok(index.kind === 'index');
  const [os = '', architecture = '', variant] = node.split('/');
  const wanted = { os, architecture, ...(variant === undefined ? {} : { variant }) };
  return Number(choosePlatform(index.manifests, wanted, 'index').digest.slice(7));
}

const of = (text: string): Item => {
  const [os = '', architecture = '', variant] = text.split('/');
  return { platform: { os, architecture, ...(variant === undefined ? {} : { variant }) } };
};

test('the platform of an entry is compared by its OCI name', () => {
  for (const [written, node] of [
    ['linux/x86_64', 'linux/amd64'],
    ['Linux/AMD64', 'linux/amd64'],
    ['linux/x86-64', 'linux/amd64'],
    ['linux/amd64/v1', 'linux/amd64'],
    ['linux/aarch64', 'linux/arm64'],
    ['linux/ARM64/V8', 'linux/arm64'],
    ['linux/arm64/8', 'linux/arm64'],
    ['linux/arm64/v8.0', 'linux/arm64'],
    ['linux/arm64', 'linux/arm64/v8'],
    ['linux/armhf', 'linux/arm'],
    ['linux/armv7l', 'linux/arm/v7'],
    ['linux/arm/7', 'linux/arm/v7'],
    ['linux/armel', 'linux/arm/v6'],
    ['linux/ppc64el', 'linux/ppc64le'],
    ['linux/i686', 'linux/386'],
    ['linux/amd64', 'Linux/x86_64'],
  ] as const)
    assert.equal(chosen([of('linux/s390x'), of(written)], node), 1, written);
});

test('of the variants the best one that the machine runs is taken', () => {
  const amd64 = ['linux/amd64/v3', 'linux/amd64/v2', 'linux/amd64'].map(of);
  assert.equal(chosen(amd64, 'linux/amd64'), 2);
  assert.equal(chosen(amd64, 'linux/amd64/v2'), 1);
  assert.equal(chosen(amd64, 'linux/amd64/v3'), 0);
  const arm = ['linux/arm/v5', 'linux/arm/v6', 'linux/arm/v7'].map(of);
  assert.deepEqual([chosen(arm, 'linux/arm'), chosen(arm, 'linux/arm/v6')], [2, 1]);
  assert.equal(chosen([of('linux/arm64/v9'), of('linux/arm64/v8')], 'linux/arm64'), 1);
  assert.throws(() => chosen([of('linux/amd64/v3')], 'linux/amd64'), /linux\/amd64\/v3/);
  assert.throws(() => chosen([of('linux/arm/v7')], 'linux/arm/v6'), /linux\/arm\/v7/);
});

test('without an entry for the platform the first that names none is taken', () => {
  assert.equal(chosen([{}, {}], 'linux/amd64'), 0);
  assert.equal(chosen([of('linux/arm64'), {}, {}], 'linux/amd64'), 1);
  assert.equal(chosen([{}, of('linux/amd64')], 'linux/amd64'), 1);
  for (const platform of [{}, { os: '', architecture: '' }, null, 'linux', { features: ['x'] }])
    assert.equal(chosen([{ platform }], 'linux/amd64'), 0);
});

test('what is not an image is skipped: unknown media types, attestations, what is no descriptor', () => {
  const platform = { os: 'linux', architecture: 'amd64' };
  for (const other of [
    { platform, mediaType: 'application/vnd.example.unknown+json' },
    { platform, mediaType: 'application/vnd.docker.distribution.manifest.v1+prettyjws' },
    { platform, mediaType: 7 },
    { platform: { os: 'unknown', architecture: 'unknown' } },
    { annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } },
    { platform, annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } },
    null,
    'text',
    [],
  ]) {
    assert.equal(chosen([other, { platform }], 'linux/amd64'), 1, JSON.stringify(other));
    assert.equal(chosen([other, {}], 'linux/amd64'), 1, JSON.stringify(other));
    assert.throws(
      () => chosen([other], 'linux/amd64'),
      (error) => hasCode(error, 'FailedPrecondition') && /no image/.test(error.message),
    );
  }
});

test('a digest that cannot be verified matters only where it is chosen', () => {
  const sha512 = `sha512:${'a'.repeat(128)}`;
  for (const bad of [sha512, `blake3:${'b'.repeat(64)}`, 'sha256:../../x', 7, null]) {
    const foreign = { ...of('linux/s390x'), digest: bad };
    assert.equal(chosen([foreign, of('linux/amd64')], 'linux/amd64'), 1);
    assert.throws(
      () => chosen([of('linux/amd64'), foreign], 'linux/s390x'),
      (error) => error instanceof CrispError && /digest/.test(error.message) && error.hint !== '',
    );
  }
  assert.throws(
    () => chosen([{ digest: sha512 }], 'linux/amd64'),
    (error) => hasCode(error, 'Unimplemented') && /sha512/.test(error.message),
  );
});

test('a config for another machine is foreign, one that says nothing is not', () => {
  const node = { os: 'linux', architecture: 'amd64' };
  for (const [os, architecture, foreign] of [
    ['linux', 'amd64', false],
    ['Linux', 'x86_64', false],
    ['', '', false],
    ['linux', '', false],
    ['linux', 'arm64', true],
    ['windows', 'amd64', true],
    ['unknown', 'unknown', true],
  ] as const)
    assert.equal(isForeign({ os, architecture }, node), foreign, `${os}/${architecture}`);
});

test('any index has an image for this machine or is refused with an error', () => {
  const text = fc.oneof(fc.constantFrom('linux', 'amd64', 'arm64', 'v8', '', 'unknown'), fc.string());
  const platform = fc.oneof(
    fc.jsonValue(),
    fc.record({ os: text, architecture: text, variant: text }, { requiredKeys: [] }),
  );
  const entry = fc.oneof(
    fc.jsonValue(),
    fc.record(
      {
        mediaType: fc.oneof(fc.constantFrom(MANIFEST, INDEX), fc.jsonValue()),
        digest: fc.oneof(fc.constant(digest(1)), fc.jsonValue()),
        size: fc.oneof(fc.nat(), fc.jsonValue()),
        platform,
        annotations: fc.jsonValue(),
      },
      { requiredKeys: [] },
    ),
  );
  fc.assert(
    fc.property(fc.oneof(fc.array(entry), fc.jsonValue()), fc.jsonValue(), (manifests, more) => {
      const json = { ...(typeof more === 'object' ? more : {}), schemaVersion: 2, manifests };
      try {
        const index = parseManifest(Buffer.from(JSON.stringify(json)), INDEX, 'index');
        assert.ok(index.kind === 'index');
        const found = choosePlatform(index.manifests, { os: 'linux', architecture: 'amd64' }, 'index');
        assert.match(found.digest, /^sha256:[0-9a-f]{64}$/);
      } catch (error) {
        assert.ok(error instanceof CrispError, String(error));
      }
    }),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(text, text, text, (os, architecture, variant) => {
      const once = normalPlatform({ os, architecture, variant });
      assert.deepEqual(normalPlatform(once), once);
    }),
    {
      examples: [
        ['linux', '__proto__', ''],
        ['linux', 'constructor', ''],
      ],
    },
  );
});
