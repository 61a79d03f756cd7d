import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { CrispError, hasCode } from '#core/errors.ts';
import { directoriesOf } from './artifact.ts';
import { parseManifest } from './manifest.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const TAR = 'application/vnd.oci.image.layer.v1.tar';
const digest = `sha256:${'a'.repeat(64)}`;
const blob = (mediaType: string, more: object = {}) => ({ mediaType, digest, size: 1, ...more });
const titled = (title: string) =>
  blob('text/plain', { annotations: { 'org.opencontainers.image.title': title } });

const parse = (json: object) =>
  parseManifest(Buffer.from(JSON.stringify({ schemaVersion: 2, ...json })), MANIFEST, 'manifest');

test('by its config a manifest is an image or an artifact', () => {
  const kindOf = (config: string, layers: readonly object[], artifactType?: string) =>
    parse({ config: blob(config), layers, artifactType }).kind;
  const empty = 'application/vnd.oci.empty.v1+json';
  assert.equal(kindOf(CONFIG, [blob(TAR)]), 'image');
  assert.equal(kindOf(CONFIG, [blob(TAR)], 'application/vnd.example'), 'image');
  assert.equal(kindOf(CONFIG, [titled('a')], 'application/vnd.example'), 'artifact');
  assert.equal(kindOf(empty, [blob(TAR)]), 'artifact');
  assert.equal(kindOf('application/vnd.docker.container.image.v1+json', []), 'image');
  assert.throws(() => kindOf(CONFIG, [titled('a')]), /a layer of media type "text\/plain"/);
  // Old images of docker have other types of config; an artifact with such a one is of OCI.
  const docker = 'application/vnd.docker.distribution.manifest.v2+json';
  const layers = [blob('application/vnd.docker.image.rootfs.diff.tar.gzip')];
  for (const type of ['application/octet-stream', 'application/json', 'text/html', '']) {
    assert.equal(parse({ mediaType: docker, config: blob(type), layers }).kind, 'image', type);
    assert.equal(parse({ mediaType: MANIFEST, config: blob(type), layers }).kind, 'artifact', type);
  }
  const manifest = parse({ config: blob(empty), layers: [titled('a//b/./c'), blob(TAR)] });
  assert.ok(manifest.kind === 'artifact');
  assert.deepEqual(
    manifest.layers.map(({ path }) => path),
    [['a', 'b', 'c'], undefined],
  );
});

test('what is refused is named', () => {
  for (const [json, code, text] of [
    [{ schemaVersion: 1, fsLayers: [] }, 'Unimplemented', /schema 1/],
    [
      { mediaType: 'application/vnd.oci.artifact.manifest.v1+json', blobs: [] },
      'Unimplemented',
      /artifact\.manifest/,
    ],
    [
      { config: blob(CONFIG), layers: [blob(`${TAR}+gzip+encrypted`)] },
      'Unimplemented',
      /layer 0: an encrypted/,
    ],
    [
      { config: blob(CONFIG), layers: [blob('application/vnd.docker.image.rootfs.foreign.diff.tar.gzip')] },
      'Unimplemented',
      /layer 0: a foreign/,
    ],
    [
      { config: blob(CONFIG), layers: [blob(TAR), blob(TAR, { digest: `sha512:${'b'.repeat(128)}` })] },
      'Unimplemented',
      /layer 1: .*sha512/,
    ],
    [{ config: blob(CONFIG), layers: [], manifests: [] }, 'DataLoss', /both/],
    [{ config: blob(CONFIG, { size: 1 << 30 }), layers: [] }, 'DataLoss', /a config of/],
    [{ config: blob('x/y'), layers: [titled('../a')] }, 'InvalidArgument', /layer 0: .*leads upwards/],
    [
      { config: blob('x/y'), layers: Array.from({ length: 5001 }, () => blob(TAR)) },
      'Unimplemented',
      /5001 layers/,
    ],
    [{ config: blob('x/y'), layers: {} }, 'DataLoss', /no list of layers/],
  ] as const)
    assert.throws(
      () => parse(json),
      (error) => hasCode(error, code) && text.test(error.message) && error.hint !== '',
      String(text),
    );
  const urls = parse({ config: blob(CONFIG), layers: [blob(TAR, { urls: ['http://x/'] })] });
  assert.equal(urls.kind, 'image', 'further places of a layer are no reason to refuse it');
});

test('the directories of an artifact are few, however deep its files are', () => {
  const deep = (top: string, name: string) => titled(`${top}/${'d/'.repeat(2000)}${name}`);
  const one = Array.from({ length: 900 }, (_, n) => deep('top', `${n}`));
  const manifest = parse({ config: blob('x/y'), layers: [...one, titled('file')] });
  assert.ok(manifest.kind === 'artifact');
  const directories = directoriesOf(manifest.layers);
  assert.equal(directories.size, 2002);
  assert.ok(['', 'top', 'top/d'].every((path) => directories.has(path)));
  const many = Array.from({ length: 11 }, (_, n) => deep(`${n}`, 'file'));
  assert.throws(
    () => parse({ config: blob('x/y'), layers: many }),
    (error) => hasCode(error, 'Unimplemented') && /more than 20000 directories/.test(error.message),
  );
});

test('any JSON is a manifest or refused with an error, and no name of an artifact leads outside', () => {
  const name = fc.oneof(
    fc.string(),
    fc
      .array(fc.constantFrom('a', 'b', '..', '.', '', 'ö', 'x'.repeat(300)), { maxLength: 6 })
      .map((parts) => parts.join('/')),
  );
  const layer = fc.record(
    {
      mediaType: fc.oneof(fc.constantFrom(TAR, 'text/plain'), fc.jsonValue()),
      digest: fc.oneof(fc.constant(digest), fc.jsonValue()),
      size: fc.oneof(fc.nat(), fc.jsonValue()),
      annotations: fc.oneof(fc.record({ 'org.opencontainers.image.title': name }), fc.jsonValue()),
    },
    { requiredKeys: ['digest', 'size', 'mediaType'] },
  );
  const config = fc.oneof(fc.constantFrom(blob(CONFIG), blob('x/y')), fc.jsonValue());
  const layers = fc.oneof(
    fc.array(fc.oneof(layer, fc.constant(titled('a'))), { maxLength: 4 }),
    fc.jsonValue(),
  );
  const manifest = fc.record({ config, layers, artifactType: fc.jsonValue() }, { requiredKeys: [] });
  fc.assert(
    fc.property(fc.oneof(manifest, fc.dictionary(fc.string(), fc.jsonValue())), (json) => {
      try {
        const parsed = parse(json);
        if (parsed.kind !== 'artifact') return;
        for (const { path } of parsed.layers)
          assert.ok(
            path?.every((part) => part !== '' && part !== '.' && part !== '..' && !part.includes('/')) ??
              true,
          );
      } catch (error) {
        assert.ok(error instanceof CrispError, String(error));
      }
    }),
    { numRuns: 1000 },
  );
});
