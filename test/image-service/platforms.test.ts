/** Which image of a name is taken, and that a config which names another machine is no reason to refuse it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { type Log, Operation, silentLog } from '#core/operation.ts';
import {
  type BuiltImage,
  buildImage,
  buildIndex,
  descriptor,
  jsonBlob,
  makeTar,
  pushImage,
  pushManifest,
} from '../harness/images.ts';
import { startFront } from './front.ts';
import { type Ground, ground } from './ground.ts';
import { kernel, operation, startService, type TestService } from './service.ts';

const INDEX = 'application/vnd.oci.image.index.v1+json';
const here = process.arch === 'x64' ? 'amd64' : process.arch;
const other = here === 'arm64' ? 'amd64' : 'arm64';
const built = (architecture: string, os = 'linux', content = architecture): BuiltImage =>
  buildImage({
    layers: [{ entries: [{ name: './' }, { name: 'file', content }] }],
    platform: { os, architecture },
  });

/** An operation that collects what is logged as a warning. */
function logged(): { op: Operation; warnings: { object: unknown; text: string }[] } {
  const warnings: { object: unknown; text: string }[] = [];
  const log: Log = {
    ...silentLog,
    warn: (object, text) => void warnings.push({ object, text }),
    child: () => log,
  };
  return { op: new Operation('pull', { log }), warnings };
}

interface Place extends AsyncDisposable {
  readonly at: Ground;
  readonly opened: TestService;
}

async function place(): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const at = stack.use(await ground());
  const opened = stack.use(await startService(at.root));
  const owned = stack.move();
  return { at, opened, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

test('a bare manifest is taken whatever its config claims, with one warning', async () => {
  await using where = await place();
  for (const [os, architecture, warns] of [
    ['linux', other, true],
    ['linux', 's390x', true],
    ['windows', here, true],
    ['Linux', here.toUpperCase(), false],
    ['linux', here === 'amd64' ? 'x86_64' : 'aarch64', false],
    ['', '', false],
  ] as const) {
    const image = built(architecture, os);
    await pushImage(where.at.registry.url, 'app', 'v1', image);
    const { op, warnings } = logged();
    const found = await where.opened.service.pull({ reference: `${where.at.registry.host}/app:v1` }, op);
    assert.equal(found.id, image.config.digest);
    const foreign = warnings.filter(({ text }) => /platform/.test(text));
    assert.equal(foreign.length, warns ? 1 : 0, `${os}/${architecture}`);
    if (warns) assert.match(JSON.stringify(foreign[0]?.object), new RegExp(architecture));
  }
});

test('an index decides: its entry is taken though the config says something else', async () => {
  await using where = await place();
  const { url, host } = where.at.registry;
  const lying = { ...built(other), platform: { os: 'linux', architecture: here } };
  await pushImage(url, 'app', 'lying', lying);
  await pushManifest(url, 'app', 'v1', buildIndex([lying]));
  const { op, warnings } = logged();
  const image = await where.opened.service.pull({ reference: `${host}/app:v1` }, op);
  assert.deepEqual([image.id, warnings.length], [lying.config.digest, 1]);
  assert.equal(image.record.platform.architecture, other, 'as the config has it');
});

test('nested indexes, attestations beside the image, entries without platform', async () => {
  await using where = await place();
  const { url, host } = where.at.registry;
  const [mine, theirs, bare] = [built(here), built(other), built('', '', 'bare')];
  const attestation = jsonBlob('application/vnd.oci.image.manifest.v1+json', {
    ...JSON.parse(theirs.manifest.bytes.toString()),
    annotations: { about: 'provenance' },
  });
  for (const image of [mine, theirs, bare])
    await pushImage(url, 'app', image.manifest.digest.slice(7), image);
  await pushManifest(url, 'app', 'attestation', attestation);
  const unknown = { os: 'unknown', architecture: 'unknown' };
  const inner = jsonBlob(INDEX, {
    schemaVersion: 2,
    mediaType: INDEX,
    manifests: [
      { ...descriptor(attestation), platform: unknown },
      { ...descriptor(theirs.manifest), platform: theirs.platform },
      { ...descriptor(mine.manifest), platform: { os: 'Linux', architecture: here.toUpperCase() } },
    ],
  });
  await pushManifest(url, 'app', 'inner', inner);
  const manifests = [descriptor(inner), descriptor(bare.manifest)];
  await pushManifest(url, 'app', 'outer', jsonBlob(INDEX, { schemaVersion: 2, mediaType: INDEX, manifests }));
  await pushManifest(
    url,
    'app',
    'two',
    jsonBlob(INDEX, {
      schemaVersion: 2,
      manifests: [bare, mine].map(({ manifest }) => descriptor(manifest)),
    }),
  );
  for (const [tag, wanted] of [
    ['inner', mine],
    ['outer', mine],
    ['two', bare],
  ] as const) {
    const image = await where.opened.service.pull({ reference: `${host}/app:${tag}` }, operation('pull'));
    assert.equal(image.id, wanted.config.digest, tag);
  }
});

test('an index with entries that registries do not take: what is chosen is pulled, the others are not asked for', async () => {
  await using where = await place();
  const mine = built(here);
  await pushImage(where.at.registry.url, 'app', 'v1', mine);
  const platform = { os: 'linux', architecture: here };
  const chosen = { ...descriptor(mine.manifest), platform };
  const absent = (letter: string) => `sha256:${letter.repeat(64)}`;
  let manifests: readonly unknown[] = [];
  await using front = await startFront(where.at.registry.url, (req, res) => {
    if (!req.url?.endsWith('/manifests/index')) return false;
    res.writeHead(200, { 'content-type': INDEX }).end(JSON.stringify({ schemaVersion: 2, manifests }));
    return true;
  });
  for (const others of [
    [{ ...chosen, digest: `sha512:${'a'.repeat(128)}`, platform: { os: 'linux', architecture: other } }],
    [{ ...chosen, digest: absent('b'), mediaType: 'application/vnd.example.unknown.v1+json' }],
    [{ ...chosen, digest: absent('c'), mediaType: 'application/vnd.docker.distribution.manifest.v1+json' }],
    [{ ...chosen, digest: absent('d'), platform: { os: 'unknown', architecture: 'unknown' } }, null, 7],
    [{ ...descriptor(mine.manifest), digest: absent('e'), platform: undefined }],
  ]) {
    manifests = [...others, chosen];
    front.seen.length = 0;
    const reference = `${front.host}/app:index`;
    const image = await where.opened.service.pull({ reference }, operation('pull'));
    assert.equal(image.id, mine.config.digest, JSON.stringify(others));
    for (const { url } of front.seen)
      assert.doesNotMatch(url, /sha512|sha256:(b+|c+|d+|e+)$/, JSON.stringify(others));
  }
});

test('an image of data alone is mounted as a volume', async () => {
  await using where = await place();
  const { url, host } = where.at.registry;
  const data = built('', '', 'data');
  await pushImage(url, 'data', 'v1', data);
  const image = await where.opened.service.pull({ reference: `${host}/data:v1` }, operation('pull'));
  const target = join(where.at.directory, 'volume');
  await where.opened.service.rootfs.mountVolume({ image: image.id, target }, operation('mount'));
  try {
    assert.ok(kernel.mounts.below(target).length > 0);
  } finally {
    await where.opened.service.rootfs.unmount(target);
  }
});

test('an archive of images follows the same rules', async () => {
  await using where = await place();
  const [mine, theirs] = [built(other, 'linux', 'lies'), built(other)];
  const blobs = [mine, theirs].flatMap((image) => [image.manifest, image.config, ...image.layers]);
  const entries = (manifests: readonly object[]) => [
    ...[...new Map(blobs.map((blob) => [blob.digest, blob])).values()].map(({ digest, bytes }) => ({
      name: `blobs/sha256/${digest.slice(7)}`,
      content: bytes,
    })),
    { name: 'index.json', content: JSON.stringify({ schemaVersion: 2, manifests }) },
  ];
  const foreign = { ...descriptor(theirs.manifest), platform: theirs.platform };
  const chosen = { ...descriptor(mine.manifest), platform: { os: 'LINUX', architecture: here } };
  const unusable = { ...foreign, digest: `sha512:${'a'.repeat(128)}` };
  const unknown = {
    ...descriptor(theirs.manifest),
    mediaType: 'application/vnd.example+json',
    platform: mine,
  };
  const { op, warnings } = logged();
  const source = Readable.from([makeTar(entries([unknown, unusable, foreign, chosen]))]);
  const [image] = await where.opened.service.import({ source }, op);
  assert.deepEqual([image?.id, warnings.length], [mine.config.digest, 1]);
  await assert.rejects(
    where.opened.service.import(
      { source: Readable.from([makeTar(entries([foreign, unusable]))]) },
      operation('import'),
    ),
    (error) => hasCode(error, 'FailedPrecondition'),
  );
});
