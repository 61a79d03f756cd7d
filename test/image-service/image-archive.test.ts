/** Archives of images: from and to skopeo, and refusals of hostile, truncated and invalid ones. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createReadStream, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import test from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type ErrorCode, hasCode } from '#core/errors.ts';
import type { ImageService } from '#image-service/index.ts';
import {
  type BuiltImage,
  buildImage,
  digestOf,
  type EntrySpec,
  makeTar,
  writeLayout,
} from '../harness/images.ts';
import { operation, startService, type TestService, testDirectory } from './service.ts';

const image = (content: string, compression: 'gzip' | 'zstd' | 'none' = 'gzip'): BuiltImage =>
  buildImage({
    layers: [
      { entries: [{ name: './' }, { name: 'a', content }], compression },
      { entries: [{ name: 'b', content: Buffer.alloc(300_000, content) }], compression },
    ],
    config: { Cmd: ['/a'], User: '7' },
  });

function skopeo(...args: string[]): string {
  const run = spawnSync('skopeo', ['--insecure-policy', ...args], { encoding: 'utf8' });
  assert.equal(run.status, 0, run.stderr);
  return run.stdout;
}

interface Place extends AsyncDisposable {
  readonly path: string;
  readonly service: ImageService;
  readonly root: string;
}

async function place(): Promise<Place> {
  const directory = testDirectory();
  const opened: TestService = await startService(join(directory.path, 'images'), { keepBlobs: true });
  return {
    path: directory.path,
    service: opened.service,
    root: opened.root,
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      directory[Symbol.dispose]();
    },
  };
}

const importFile = (at: Place, file: string, name?: string) =>
  at.service.import({ source: createReadStream(file), ...(name ? { name } : {}) }, operation('import'));
const importBytes = (at: Place, bytes: Buffer) =>
  at.service.import({ source: Readable.from([bytes]) }, operation('import'));

async function exported(at: Place, ...references: string[]): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of at.service.export(references, operation('export'))) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Nothing is visible, and after a collection nothing is kept. */
async function nothingIn(at: Place): Promise<void> {
  assert.deepEqual(at.service.list(), []);
  await at.service.collect();
  assert.deepEqual(readdirSync(join(at.root, 'content/blobs/sha256')), []);
  assert.deepEqual(readdirSync(join(at.root, 'layers')), []);
  assert.deepEqual(readdirSync(join(at.root, 'staging')), []);
}

async function refused(at: Place, bytes: Buffer, code: ErrorCode, text: RegExp): Promise<void> {
  await assert.rejects(
    importBytes(at, bytes),
    (error) => hasCode(error, code) && text.test(error.message) && !error.hint.includes('push'),
    String(text),
  );
  await nothingIn(at);
}

test('what skopeo writes is imported: docker and OCI archives', async () => {
  await using at = await place();
  const built = image('one');
  writeLayout(join(at.path, 'layout'), 'v1', built);
  const source = `oci:${join(at.path, 'layout')}:v1`;
  const docker = join(at.path, 'docker.tar');
  skopeo('copy', source, `docker-archive:${docker}:registry.example/app:docker`);
  const oci = join(at.path, 'oci.tar');
  skopeo('copy', source, `oci-archive:${oci}:registry.example/app:oci`);
  const [fromDocker] = await importFile(at, docker);
  const [fromOci] = await importFile(at, oci);
  // The archive of docker has another config (its own media types aside, the same content).
  assert.deepEqual(fromDocker?.repoTags, ['registry.example/app:docker']);
  assert.deepEqual(fromDocker?.repoDigests, []);
  assert.equal(fromOci?.id, built.config.digest);
  assert.equal(at.service.find('registry.example/app:oci')?.id, built.config.digest);
  assert.deepEqual(at.service.find('registry.example/app:docker')?.config.cmd, ['/a']);
  assert.equal(at.service.status('registry.example/app:oci')?.uid, 7n);
  assert.ok(fromOci?.repoDigests.includes(`registry.example/app@${built.manifest.digest}`));
});

test('what is exported skopeo reads, in both forms, with the blobs byte for byte', async () => {
  for (const [compression, format] of [
    ['gzip', 'oci'],
    ['gzip', 'docker'],
    ['none', 'oci'],
    ['zstd', 'oci'],
  ] as const) {
    await using at = await place();
    const layers = [
      { entries: [{ name: './' }, { name: 'a', content: 'two' }], compression },
      { entries: [{ name: 'b', content: Buffer.alloc(99_999, 'b') }], compression },
    ];
    const built = buildImage({ layers, format });
    const input = join(at.path, 'in');
    writeLayout(input, 'registry.example/app:v1', built);
    const tar = spawnSync('tar', ['-C', input, '-cf', '-', '.'], { maxBuffer: 1 << 28 });
    const [imported] = await importBytes(at, tar.stdout);
    assert.equal(imported?.id, built.config.digest);
    const file = join(at.path, 'out.tar');
    const bytes = await exported(at, 'registry.example/app:v1');
    writeFileSync(file, bytes);
    assert.ok((await exported(at, imported?.id ?? '')).equals(bytes), 'the same again');
    // skopeo checks only the names of OCI media types.
    const name = format === 'oci' ? ':registry.example/app:v1' : '';
    skopeo('copy', `oci-archive:${file}${name}`, `dir:${join(at.path, 'dir')}`);
    for (const { digest, bytes: blob } of [built.config, ...built.layers]) {
      assert.ok(readFileSync(join(at.path, 'dir', digest.slice(7))).equals(blob), digest);
    }
    assert.equal(digestOf(readFileSync(join(at.path, 'dir/manifest.json'))), built.manifest.digest);
    const seen = JSON.parse(skopeo('inspect', '--config', `docker-archive:${file}:registry.example/app:v1`));
    assert.equal(seen.rootfs.diff_ids.length, 2);
    await using other = await place();
    assert.deepEqual(
      (await importFile(other, file)).map(({ id, repoTags }) => [id, repoTags]),
      [[built.config.digest, ['registry.example/app:v1']]],
    );
  }
});

test('several images and names in one archive; what they share is in it once', async () => {
  await using at = await place();
  const [one, two] = [image('one'), image('two')];
  for (const [name, built] of [
    ['example.com/one:1', one],
    ['example.com/one:latest', one],
    ['example.com/two:2', two],
  ] as const) {
    writeLayout(join(at.path, name), name, built);
    const tar = spawnSync('tar', ['-C', join(at.path, name), '-cf', '-', '.'], { maxBuffer: 1 << 28 });
    await importBytes(at, gzipSync(tar.stdout));
  }
  const bytes = await exported(at, one.config.digest, 'example.com/two:2', 'example.com/one:1');
  await using other = await place();
  const found = await other.service.import(
    { source: Readable.from([zstdCompressSync(bytes)]) },
    operation('import'),
  );
  assert.deepEqual(found.map(({ repoTags }) => repoTags).sort(), [
    ['example.com/one:1', 'example.com/one:latest'],
    ['example.com/two:2'],
  ]);
  const single = await exported(at, 'example.com/one:latest');
  await using third = await place();
  const [renamed] = await third.service.import(
    { source: Readable.from([single]), name: 'busybox' },
    operation('import'),
  );
  assert.deepEqual(renamed?.repoTags, ['docker.io/library/busybox:latest']);
  await assert.rejects(
    third.service.import({ source: Readable.from([bytes]), name: 'x' }, operation('import')),
    (error) => hasCode(error, 'InvalidArgument') && /2 images/.test(error.message),
  );
});

test('links within the archive are followed: docker save writes them', async () => {
  await using at = await place();
  const layer = makeTar([{ name: './' }, { name: 'a', content: 'x' }]);
  const config = Buffer.from(
    JSON.stringify({
      os: 'linux',
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      rootfs: { type: 'layers', diff_ids: [digestOf(layer), digestOf(layer)] },
    }),
  );
  const manifest = [{ Config: 'c.json', RepoTags: ['app:v1'], Layers: ['one/layer.tar', 'two/layer.tar'] }];
  const entries: EntrySpec[] = [
    { name: 'one/' },
    { name: 'one/layer.tar', content: layer },
    { name: 'two/layer.tar', type: 'symlink', link: '../one/layer.tar' },
    { name: 'c.json', content: config },
    { name: 'repositories', content: '{}' },
    { name: 'manifest.json', content: JSON.stringify(manifest) },
  ];
  const [found] = await importBytes(at, makeTar(entries));
  assert.equal(found?.id, digestOf(config));
  assert.deepEqual(found?.repoTags, ['docker.io/library/app:v1']);
  await exported(at, 'app:v1');
});

const good = image('good');
function archive(changes: (files: Map<string, EntrySpec>) => void = () => {}): Buffer {
  const files = new Map<string, EntrySpec>();
  const put = (name: string, content: string | Buffer) => files.set(name, { name, content });
  put('oci-layout', '{"imageLayoutVersion":"1.0.0"}');
  for (const { digest, bytes } of [good.manifest, good.config, ...good.layers])
    put(`blobs/sha256/${digest.slice(7)}`, bytes);
  const { mediaType, digest, bytes } = good.manifest;
  const annotations = { 'org.opencontainers.image.ref.name': 'example.com/app:v1' };
  put(
    'index.json',
    JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType, digest, size: bytes.length, annotations }] }),
  );
  changes(files);
  return makeTar([...files.values()]);
}
const layerName = `blobs/sha256/${good.layers[1]?.digest.slice(7)}`;

test('hostile archives are refused, and leave nothing behind', async () => {
  await using at = await place();
  const entry = (spec: EntrySpec) => archive((files) => files.set('hostile', spec));
  const hostile: readonly [EntrySpec, RegExp][] = [
    [{ name: '../outside', content: 'x' }, /leads upwards/],
    [{ name: '/../outside', content: 'x' }, /leads upwards/],
    [{ name: 'a/../../outside', content: 'x' }, /leads upwards/],
    [{ name: 'link', type: 'symlink', link: '' }, /without a target/],
    [{ name: 'link', type: 'symlink', link: '../etc/passwd' }, /leads outside/],
    [{ name: 'link', type: 'hardlink', link: '../etc/passwd' }, /leads outside/],
    [{ name: 'pipe', type: 'fifo' }, /device or pipe/],
    [{ name: 'device', type: 'block', major: 8 }, /device or pipe/],
    [{ name: 'index.json', content: '{}' }, /is duplicate/],
  ];
  for (const [spec, text] of hostile) await refused(at, entry(spec), 'InvalidArgument', text);
  const loop = archive((files) => {
    files.delete(layerName);
    files.set(layerName, { name: layerName, type: 'symlink', link: 'loop' });
    files.set('loop', { name: 'blobs/sha256/loop', type: 'symlink', link: layerName.split('/')[2] ?? '' });
  });
  await refused(at, loop, 'InvalidArgument', /too many links/);
  const swapped = archive((files) => {
    files.set(layerName, { name: layerName, type: 'symlink', link: good.config.digest.slice(7) });
  });
  await refused(at, swapped, 'DataLoss', /does not have the digest/);
});

test('truncated, damaged and incomplete archives are refused, and leave nothing behind', async () => {
  await using at = await place();
  const whole = archive();
  for (const part of [0.1, 0.5, 0.9])
    await refused(at, whole.subarray(0, whole.length * part), 'DataLoss', /ends within|is truncated/);
  const packed = gzipSync(whole);
  await refused(at, packed.subarray(0, packed.length - 20), 'DataLoss', /truncated/);
  await refused(
    at,
    archive((files) => files.delete(layerName)),
    'DataLoss',
    /lacks blob/,
  );
  const damaged = archive((files) => files.set(layerName, { name: layerName, content: 'other' }));
  await refused(at, damaged, 'DataLoss', /do not have this digest/);
  await refused(
    at,
    archive((files) => files.delete('index.json')),
    'InvalidArgument',
    /neither index.json/,
  );
  await refused(at, Buffer.from('no archive at all'.repeat(100)), 'DataLoss', /image archive/);
  await refused(at, Buffer.alloc(0), 'DataLoss', /is truncated/);
  const huge = archive((files) =>
    files.set('index.json', { name: 'index.json', content: Buffer.alloc((4 << 20) + 1, ' ') }),
  );
  await refused(at, huge, 'DataLoss', /more than 4194304/);
  const docker = (value: unknown) => makeTar([{ name: 'manifest.json', content: JSON.stringify(value) }]);
  await refused(at, docker([]), 'DataLoss', /list of 1 to/);
  await refused(at, docker([{ Config: 'x', Layers: [] }]), 'DataLoss', /is missing/);
  await refused(at, docker([{ Config: '../x', Layers: [] }]), 'InvalidArgument', /leads upwards/);
  assert.equal((await importBytes(at, whole)).length, 1, 'the whole one is good');
});

test('a layer that is not what the config says: nothing is visible, of no image of the archive', async () => {
  await using at = await place();
  const layer = makeTar([{ name: './' }, { name: 'a', content: 'x' }]);
  const lie = `sha256:${'ab'.repeat(32)}`;
  const configOf = (diffId: string) =>
    JSON.stringify({ os: 'linux', rootfs: { type: 'layers', diff_ids: [diffId] } });
  const manifest = [
    { Config: 'good.json', RepoTags: ['good:1'], Layers: ['l.tar'] },
    { Config: 'bad.json', RepoTags: ['bad:1'], Layers: ['l.tar'] },
  ];
  const bytes = makeTar([
    { name: 'l.tar', content: layer },
    { name: 'good.json', content: configOf(digestOf(layer)) },
    { name: 'bad.json', content: configOf(lie) },
    { name: 'manifest.json', content: JSON.stringify(manifest) },
  ]);
  await refused(at, bytes, 'DataLoss', /diff id/);
});

test('an export of a missing or damaged image is refused', async () => {
  await using at = await place();
  await importBytes(at, archive());
  const failing = (...references: string[]) => exported(at, ...references);
  await assert.rejects(failing('nothing:1'), (error) => hasCode(error, 'NotFound'));
  await assert.rejects(failing(), (error) => hasCode(error, 'InvalidArgument'));
  const blob = join(at.root, 'content', layerName);
  const bytes = readFileSync(blob);
  bytes[100] = 255 - (bytes[100] ?? 0);
  writeFileSync(blob, bytes);
  await assert.rejects(
    failing('example.com/app:v1'),
    (error) => hasCode(error, 'DataLoss') && error.message.includes(good.layers[1]?.digest ?? '?'),
  );
});

test('a full disk: reported, nothing is visible, and nothing is kept', async () => {
  using directory = testDirectory();
  const disk = join(directory.path, 'disk');
  mkdirSync(disk);
  assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'test-disk', disk]).status, 0);
  try {
    await using opened = await startService(join(disk, 'images'));
    const at = { ...opened, path: disk, [Symbol.asyncDispose]: async () => {} };
    const noise = Buffer.from(Array.from({ length: 600_000 }, (_, n) => (n * 2654435761) >>> 24));
    const large = archive((files) => files.set('noise', { name: 'noise', content: noise }));
    await assert.rejects(importBytes(at, large), (error) => hasCode(error, 'ResourceExhausted'));
    await nothingIn(at);
  } finally {
    spawnSync('umount', ['-l', disk]);
  }
});
