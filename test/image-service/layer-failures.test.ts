/** What an error of a layer names: image, layer, member, remedy. And layers of formats with a table of contents. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import test from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { CrispError } from '#core/errors.ts';
import {
  type BuiltImage,
  buildImage,
  descriptor,
  digestOf,
  type headerBlock,
  jsonBlob,
  makeTar,
  pushImage,
  pushManifest,
} from '../harness/images.ts';
import { type Rule, startFront } from './front.ts';
import { ground } from './ground.ts';
import { operation, startService } from './service.ts';

/** An image whose second layer is these bytes. */
function imageOf(
  blob: Buffer,
  unpacked = blob,
  mediaType = 'application/vnd.oci.image.layer.v1.tar',
): BuiltImage {
  const base = buildImage({ layers: [{ entries: [{ name: './' }, { name: 'base', content: 'b' }] }] });
  const layers = [...base.layers, { mediaType, digest: digestOf(blob), bytes: blob }];
  const config = JSON.parse(base.config.bytes.toString());
  config.rootfs.diff_ids.push(digestOf(unpacked));
  const newConfig = jsonBlob(base.config.mediaType, config);
  const manifest = jsonBlob(base.manifest.mediaType, {
    schemaVersion: 2,
    config: descriptor(newConfig),
    layers: layers.map(descriptor),
  });
  return { ...base, manifest, config: newConfig, layers };
}

const files = [
  { name: './' },
  { name: 'first', content: 'x'.repeat(5000) },
  { name: 'second', content: 'y' },
];
const whole = makeTar(files);
const cut = whole.subarray(0, 4096);
const member = (spec: Parameters<typeof headerBlock>[0], flag = '0') =>
  makeTar([...files, { ...spec, flag }]);

const compressed = (program: string, ...args: string[]) =>
  execFileSync(program, [...args, '-c'], { input: whole, stdio: ['pipe', 'pipe', 'ignore'] });

const cases: readonly (readonly [name: string, BuiltImage, RegExp, RegExp])[] = [
  ['hostile name', imageOf(member({ name: '../up' })), /leads upwards: "..\/up"/, /do not use this image/],
  ['odd type', imageOf(member({ name: 'odd' }, 'Q')), /"odd" of type "Q"/, /without it/],
  ['truncated', imageOf(cut), /ends within an entry; the last member .* "first"/, /push/],
  [
    'truncated gzip',
    imageOf(gzipSync(whole).subarray(0, -12), whole),
    /gzip stream is (truncated|damaged).* "second"/,
    /push/,
  ],
  ['damaged zstd', imageOf(zstdCompressSync(whole).subarray(0, 40), whole), /zstd stream is/, /push/],
  ['xz', imageOf(compressed('xz'), whole), /it is compressed by xz/, /by gzip, or by zstd/],
  ['bzip2', imageOf(compressed('bzip2'), whole), /it is compressed by bzip2/, /by gzip, or by zstd/],
  [
    'zstd window',
    imageOf(compressed('zstd', '--long=28'), whole),
    /window of more than 128 MiB/,
    /--long=27/,
  ],
  ['wrong diff id', imageOf(whole, cut), /its diff id is sha256:/, /config and its layers do not match/],
  [
    'hard link to nothing',
    imageOf(makeTar([{ name: './' }, { name: 'l', type: 'hardlink', link: '/no' }])),
    /"l" to "no", which no layer has/,
    /do not use/,
  ],
  [
    "overlayfs's own",
    imageOf(makeTar([{ name: 'f', xattrs: { 'trusted.overlay.opaque': Buffer.from('y') } }])),
    /"f" has the attribute "trusted.overlay.opaque"/,
    /without it/,
  ],
];

test('an error of a layer names image, layer and member, and has its own remedy', async () => {
  await using at = await ground();
  await using opened = await startService(at.root);
  for (const [name, image, text, hint] of cases) {
    await pushImage(at.registry.url, 'app', 'v1', image);
    const digest = image.layers[1]?.digest ?? '';
    const reference = `${at.registry.host}/app:v1`;
    const error = await opened.service.pull({ reference }, operation('pull')).catch((reason) => reason);
    assert.ok(error instanceof CrispError, name);
    assert.ok(error.message.startsWith(`image ${reference}: layer 1 (${digest}): `), error.message);
    assert.match(error.message, text);
    assert.match(error.hint, hint, name);
    const archive = makeTar([
      ...[image.manifest, image.config, ...image.layers].map((blob) => ({
        name: `blobs/sha256/${blob.digest.slice(7)}`,
        content: blob.bytes,
      })),
      {
        name: 'index.json',
        content: JSON.stringify({ schemaVersion: 2, manifests: [descriptor(image.manifest)] }),
      },
    ]);
    const source = Readable.from([archive]);
    const imported = await opened.service.import({ source }, operation('import')).catch((reason) => reason);
    assert.ok(imported instanceof CrispError, name);
    assert.ok(imported.message.startsWith('image archive: '), imported.message);
    assert.match(imported.message, new RegExp(`layer 1 \\(${digest}\\)`));
    assert.match(imported.message, text);
    assert.ok(imported.hint !== '' && !imported.hint.includes('push'), imported.hint);
  }
});

test('the limits of a layer are named with the option of its remedy', async () => {
  await using at = await ground();
  const limits = { layerBytes: 4096, layerEntries: 100, ratio: 1500, ratioFrom: 1 << 30 };
  await using opened = await startService(at.root, { limits });
  await pushImage(at.registry.url, 'app', 'v1', imageOf(whole));
  await assert.rejects(
    opened.service.pull({ reference: `${at.registry.host}/app:v1` }, operation('pull')),
    (error) =>
      error instanceof CrispError &&
      error.code === 'ResourceExhausted' &&
      /layer 1 .*more than 4096 bytes/.test(error.message) &&
      /raise the limit/.test(error.hint),
  );
});

test('a layer that is larger than it may be unpacked is not asked for: all of a blob is read, whatever is in it', async () => {
  await using at = await ground();
  const image = imageOf(whole);
  await pushImage(at.registry.url, 'app', 'v1', image);
  const manifest = JSON.parse(image.manifest.bytes.toString()) as { layers: { size: number }[] };
  for (const layer of manifest.layers.slice(1)) layer.size = 2 ** 50;
  await pushManifest(at.registry.url, 'app', 'v1', jsonBlob(image.manifest.mediaType, manifest));
  const answer: Rule = (req, res) => {
    if (!req.url?.endsWith(image.layers[1]?.digest ?? '')) return false;
    res.writeHead(503).end(); // it could go on for years
    return true;
  };
  await using front = await startFront(at.registry.url, answer);
  await using opened = await startService(at.root);
  await assert.rejects(
    opened.service.pull({ reference: `${front.host}/app:v1` }, operation('pull')),
    (error) =>
      error instanceof CrispError &&
      error.code === 'ResourceExhausted' &&
      /image .*layer 1 .*1125899906842624 bytes/.test(error.message) &&
      /raise the limit/.test(error.hint),
  );
  assert.ok(!front.seen.some(({ url }) => url.endsWith(image.layers[1]?.digest ?? '')));
});

test('eStargz and zstd:chunked are layers like others', async () => {
  await using at = await ground();
  await using opened = await startService(at.root, { layers: 'directory' });
  const skippable = (text: string) => {
    const frame = Buffer.alloc(8);
    frame.writeUInt32LE(0x184d2a50, 0);
    frame.writeUInt32LE(text.length, 4);
    return Buffer.concat([frame, Buffer.from(text)]);
  };
  const parts = [whole.subarray(0, 512), whole.subarray(512, 2048), whole.subarray(2048)];
  // A gzip member per part and an empty last one with a footer; a zstd frame per part and the table in skippable ones.
  const stargz = Buffer.concat([...parts.map((part) => gzipSync(part)), gzipSync(Buffer.alloc(0))]);
  const chunked = Buffer.concat([
    ...parts.map((part) => zstdCompressSync(part)),
    skippable('table of contents'),
    skippable('footer'),
  ]);
  for (const [tag, bytes, type] of [
    ['stargz', stargz, 'application/vnd.oci.image.layer.v1.tar+gzip'],
    ['chunked', chunked, 'application/vnd.oci.image.layer.v1.tar+zstd'],
    ['mislabelled', chunked, 'application/vnd.oci.image.layer.v1.tar+gzip'],
  ] as const) {
    await pushImage(at.registry.url, 'app', tag, imageOf(bytes, whole, type));
    const { record } = await opened.service.pull(
      { reference: `${at.registry.host}/app:${tag}` },
      operation('pull'),
    );
    const layer = join(at.root, 'layers', record.layers[1] ?? '', 'fs');
    assert.equal(readFileSync(join(layer, 'first'), 'utf8'), 'x'.repeat(5000));
    await opened.service.remove(record.id, operation('remove'));
    await opened.service.collect();
  }
});
