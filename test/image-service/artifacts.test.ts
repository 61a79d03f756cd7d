/** OCI artifacts: pulled, listed, mounted, exported, removed like images; what is hostile in one is refused. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import test from 'node:test';
import { gzipSync } from 'node:zlib';
import { CrispError, hasCode } from '#core/errors.ts';
import { encode } from '#core/json-record.ts';
import { type ArtifactSpec, buildArtifact } from '../harness/artifacts.ts';
import {
  type BuiltImage,
  buildImage,
  buildIndex,
  digestOf,
  type EntrySpec,
  makeTar,
  pushImage,
  pushManifest,
} from '../harness/images.ts';
import { startFront } from './front.ts';
import { type Ground, ground, stored } from './ground.ts';
import { operation, startService, type TestService } from './service.ts';

const model = buildArtifact({
  artifactType: 'application/vnd.example.model.v1',
  files: [
    { title: 'weights.bin', content: Buffer.alloc(300_000, 7) },
    { title: 'config/tokens.json', content: '{}' },
    { title: './config/deep//er/höhe.txt', content: 'höhe' },
    { content: 'no name' },
  ],
});

interface Place extends AsyncDisposable {
  readonly at: Ground;
  readonly opened: TestService;
  pull(artifact: BuiltImage, tag?: string): ReturnType<TestService['service']['pull']>;
}

async function place(): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const at = stack.use(await ground());
  const opened = stack.use(await startService(at.root));
  const owned = stack.move();
  return {
    at,
    opened,
    async pull(artifact, tag = 'v1') {
      await pushImage(at.registry.url, 'models', tag, artifact);
      return opened.service.pull({ reference: `${at.registry.host}/models:${tag}` }, operation('pull'));
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Mounts an image as a volume and lists its files with their content. */
async function volume({ at, opened }: Place, id: string): Promise<Record<string, string>> {
  const target = join(at.directory, 'volume');
  const image = opened.service.find(id);
  assert.ok(image);
  await opened.service.rootfs.mountVolume({ image: image.id, target }, operation('mount'));
  try {
    const names = readdirSync(target, { recursive: true, encoding: 'utf8' });
    const files = names.filter((name) => statSync(join(target, name)).isFile()).sort();
    return Object.fromEntries(files.map((name) => [name, readFileSync(join(target, name), 'latin1')]));
  } finally {
    await opened.service.rootfs.unmount(target);
  }
}

test('an artifact is an image whose id is the digest of its manifest, and its files are a volume', async () => {
  await using here = await place();
  const { service } = here.opened;
  const image = await here.pull(model);
  assert.equal(image.id, model.manifest.digest);
  const name = `${here.at.registry.host}/models`;
  assert.deepEqual(image.repoTags, [`${name}:v1`]);
  assert.deepEqual(image.repoDigests, [`${name}@${model.manifest.digest}`]);
  for (const reference of [image.id, `${name}:v1`, image.id.slice(7, 20)])
    assert.equal(service.status(reference)?.id, image.id);
  assert.equal(service.find(image.id)?.artifactType, 'application/vnd.example.model.v1');
  assert.deepEqual(await volume(here, image.id), {
    'config/deep/er/höhe.txt': Buffer.from('höhe').toString('latin1'),
    'config/tokens.json': '{}',
    'weights.bin': Buffer.alloc(300_000, 7).toString('latin1'),
  });
  const layer = join(here.at.root, 'layers', image.record.layers[0] ?? '', 'fs');
  assert.equal(statSync(join(layer, 'weights.bin')).mode & 0o777, 0o644);
  const blob = join(here.at.root, 'content/blobs/sha256', model.layers[0]?.digest.slice(7) ?? '');
  assert.equal(
    statSync(join(layer, 'weights.bin')).ino,
    statSync(blob).ino,
    'its bytes are on the disk once',
  );
  const used = Number(service.fsInfo().usedBytes);
  assert.ok(used > 300_000 && used < 400_000, String(used));
  assert.ok(image.size >= 300_000 && image.size < 400_000);
  await service.remove(`${name}:v1`, operation('remove'));
  await service.collect();
  assert.deepEqual(service.list(), []);
  assert.deepEqual(stored(here.at.root), { layers: [], blobs: [], staging: [] });
  assert.equal(service.fsInfo().usedBytes, 0n);
});

test('artifacts of other tools, by another config or type, also behind an index', async () => {
  await using here = await place();
  const specs: readonly [ArtifactSpec, string][] = [
    [
      {
        configType: 'application/vnd.cncf.helm.config.v1+json',
        config: { name: 'chart' },
        files: [{ title: 'chart.tgz', content: 'chart' }],
      },
      'application/vnd.cncf.helm.config.v1+json',
    ],
    [
      {
        configType: 'application/vnd.wasm.config.v0+json',
        files: [{ title: 'app.wasm', content: '\0asm', mediaType: 'application/wasm' }],
      },
      'application/vnd.wasm.config.v0+json',
    ],
    [
      {
        configType: 'application/vnd.cncf.model.config.v1+json',
        files: [
          {
            content: 'weights',
            mediaType: 'application/vnd.cncf.model.weight.v1.raw',
            annotations: { 'org.cncf.model.filepath': 'w/part-1' },
          },
        ],
      },
      'application/vnd.cncf.model.config.v1+json',
    ],
    [
      {
        configType: 'application/vnd.oci.image.config.v1+json',
        artifactType: 'application/vnd.example.policy',
        files: [{ title: 'policy.rego', content: 'allow', mediaType: 'text/plain' }],
      },
      'application/vnd.example.policy',
    ],
    [
      { files: [{ content: '{}', mediaType: 'application/vnd.oci.empty.v1+json' }] },
      'application/vnd.oci.empty.v1+json',
    ],
    [{ files: [] }, 'application/vnd.oci.empty.v1+json'],
  ];
  for (const [n, [spec, type]] of specs.entries()) {
    const artifact = buildArtifact({ ...spec, config: { ...spec.config, n } });
    const image = await here.pull(artifact, `t${n}`);
    assert.deepEqual([image.id, image.record.artifactType], [artifact.manifest.digest, type]);
    const named = spec.files.flatMap(
      ({ title, annotations }) => title ?? annotations?.['org.cncf.model.filepath'] ?? [],
    );
    assert.deepEqual(Object.keys(await volume(here, image.id)), named);
  }
  await here.pull(model, 'plain');
  await pushManifest(here.at.registry.url, 'models', 'index', buildIndex([model]));
  const reference = `${here.at.registry.host}/models:index`;
  const image = await here.opened.service.pull({ reference }, operation('pull'));
  assert.equal(image.id, model.manifest.digest);
  assert.equal(image.repoDigests.length, 2, 'that of the index beside its own');
});

test('an image with a type of its own is an image', async () => {
  await using here = await place();
  const built = buildImage({ layers: [{ entries: [{ name: './' }, { name: 'file', content: 'x' }] }] });
  const manifest = {
    ...JSON.parse(built.manifest.bytes.toString()),
    artifactType: 'application/vnd.example.app',
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const image = await here.pull({
    ...built,
    manifest: { ...built.manifest, bytes, digest: digestOf(bytes) },
  });
  assert.deepEqual([image.id, image.record.artifactType], [built.config.digest, undefined]);
});

test('a directory that oras has packed is unpacked below its name', async () => {
  await using here = await place();
  const packed = (title: string, entries: readonly EntrySpec[], more: object = {}) => {
    const tar = makeTar(entries);
    const annotations = {
      'io.deis.oras.content.unpack': 'true',
      'io.deis.oras.content.digest': digestOf(tar),
      ...more,
    };
    return {
      title,
      content: gzipSync(tar),
      mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
      annotations,
    };
  };
  const good = buildArtifact({
    files: [
      packed('data/set', [
        { name: 'data/' },
        { name: 'data/set/', mode: 0o750 },
        { name: 'data/set/one', content: '1', mode: 0o755 },
        { name: '/data/set/two', type: 'hardlink', link: 'data/set/one' },
        { name: 'data/set/out', type: 'symlink', link: '../../../../../etc' },
      ]),
      { title: 'data/readme', content: 'read me' },
    ],
  });
  const image = await here.pull(good);
  const layer = join(here.at.root, 'layers', image.record.layers[0] ?? '', 'fs');
  assert.equal(readFileSync(join(layer, 'data/set/two'), 'utf8'), '1');
  assert.equal(readFileSync(join(layer, 'data/readme'), 'utf8'), 'read me');
  for (const [entries, text] of [
    [[{ name: 'other/file', content: 'x' }], /outside of its directory "d"/],
    [[{ name: 'file', content: 'x' }], /outside of its directory/],
    [[{ name: 'd/../x', content: 'x' }], /leads upwards/],
    [[{ name: 'd/l', type: 'hardlink', link: 'readme' }], /outside of its directory/],
    [[{ name: 'd/l', type: 'hardlink', link: 'd/no' }], /which no layer has/],
    [[{ name: 'd/null', type: 'character', major: 1, minor: 3 }], /a character/],
    [[{ name: 'd/.wh.x' }], /a whiteout/],
  ] as const) {
    const bad = buildArtifact({ files: [{ title: 'readme', content: 'r' }, packed('d', entries)] });
    await assert.rejects(
      here.pull(bad),
      (error) =>
        hasCode(error, 'InvalidArgument') &&
        error.message.includes(`layer 1 (${bad.layers[1]?.digest})`) &&
        text.test(error.message),
      String(text),
    );
  }
  const lie = packed('d', [{ name: 'd/f' }], { 'io.deis.oras.content.digest': `sha256:${'0'.repeat(64)}` });
  await assert.rejects(here.pull(buildArtifact({ files: [lie] })), (error) => hasCode(error, 'DataLoss'));
  assert.deepEqual(readdirSync(join(here.at.root, 'staging')), []);
});

test('hostile file names are refused before anything is fetched', async () => {
  await using here = await place();
  const file = (title: string, content = title) => ({ title, content });
  const cases: readonly [readonly { title: string; content: string }[], RegExp][] = [
    [[file('../up')], /leads upwards/],
    [[file('a/../../up')], /leads upwards/],
    [[file('/etc/passwd')], /is absolute/],
    [[file('.')], /names no file/],
    [[file('a\0b')], /has a NUL/],
    [[file('x'.repeat(300))], /too long/],
    [[file('x/'.repeat(3000))], /too long/],
    [[file('same', '1'), file('./same', '2')], /is given twice/],
    [[file('a'), file('a/b')], /is below the file "a"/],
    [[file('a/b'), file('a')], /is below the file "a"/],
  ];
  for (const [files, text] of cases) {
    await assert.rejects(
      here.pull(buildArtifact({ files })),
      (error) =>
        error instanceof CrispError &&
        error.code === 'InvalidArgument' &&
        /layer \d/.test(error.message) &&
        text.test(error.message) &&
        error.hint !== '',
      String(text),
    );
  }
  assert.deepEqual(here.opened.service.list(), []);
  assert.deepEqual(stored(here.at.root), { layers: [], blobs: [], staging: [] });
});

test('artifacts outlive a restart, and a lost directory is made again by the next pull', async () => {
  await using at = await ground();
  await pushImage(at.registry.url, 'models', 'v1', model);
  const reference = `${at.registry.host}/models:v1`;
  let before = '';
  {
    await using opened = await startService(at.root);
    const image = await opened.service.pull({ reference }, operation('pull'));
    before = encode(image.record);
  }
  {
    await using opened = await startService(at.root);
    assert.equal(encode(opened.service.status(reference)?.record), before);
    await opened.service.collect();
    assert.equal(stored(at.root).layers.length, 1);
  }
  rmSync(join(at.root, 'layers', stored(at.root).layers[0] ?? ''), { recursive: true });
  await using opened = await startService(at.root);
  assert.equal(opened.service.status(reference), undefined);
  const again = await opened.service.pull({ reference }, operation('pull'));
  assert.equal(again.id, model.manifest.digest);
  assert.equal(stored(at.root).layers.length, 1);
});

test('ten pulls of an artifact are one transfer; a cancelled one leaves nothing', async () => {
  await using at = await ground();
  await using front = await startFront(at.registry.url);
  await pushImage(at.registry.url, 'models', 'v1', model);
  await using opened = await startService(at.root, { keepUnfinishedMs: 0 });
  const reference = `${front.host}/models:v1`;
  const held = Promise.withResolvers<void>();
  const cancel = new AbortController();
  front.rule = async (req) => {
    if (!req.url?.includes('/blobs/')) return false;
    held.resolve();
    await new Promise<void>((resolve) => cancel.signal.addEventListener('abort', () => resolve()));
    return false;
  };
  const cancelled = opened.service.pull({ reference }, operation('pull', cancel.signal));
  cancelled.catch(() => {});
  await held.promise;
  cancel.abort();
  await assert.rejects(cancelled, (error) => hasCode(error, 'Cancelled'));
  while (opened.service.pulls().length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await opened.service.collect();
  assert.deepEqual(stored(at.root), { layers: [], blobs: [], staging: [] });
  front.rule = undefined;
  front.seen.length = 0;
  await Promise.all(Array.from({ length: 10 }, () => opened.service.pull({ reference }, operation('pull'))));
  const blobs = front.seen.map(({ url }) => url.split('/blobs/')[1]).filter((digest) => digest !== undefined);
  // The config has the bytes of one of the files.
  assert.deepEqual([blobs.length, new Set(blobs).size], [4, 4]);
});

test('an artifact is exported and imported as an OCI archive', async () => {
  await using here = await place();
  const image = await here.pull(model);
  const name = `${here.at.registry.host}/models:v1`;
  const pieces: Buffer[] = [];
  for await (const piece of here.opened.service.export([name], operation('export'))) pieces.push(piece);
  const archive = Buffer.concat(pieces);
  await here.opened.service.remove(name, operation('remove'));
  await here.opened.service.collect();
  assert.deepEqual(stored(here.at.root).blobs, []);
  const [found] = await here.opened.service.import({ source: Readable.from([archive]) }, operation('import'));
  assert.deepEqual([found?.id, found?.repoTags], [image.id, [name]]);
  assert.equal((await volume(here, image.id))['config/tokens.json'], '{}');
  assert.equal(encode(found?.record.blobs.toSorted()), encode(image.record.blobs.toSorted()));
  const bytes = archive.subarray(0, archive.length - 2048);
  await assert.rejects(
    here.opened.service.import({ source: Readable.from([bytes]) }, operation('import')),
    (error) => hasCode(error, 'DataLoss'),
  );
});
