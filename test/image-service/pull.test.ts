/** Pulling and finding images on a real registry: the identity rules, joined pulls, cancellation. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '#core/errors.ts';
import { encode } from '#core/json-record.ts';
import { type Log, Operation, silentLog } from '#core/operation.ts';
import {
  buildImage,
  buildIndex,
  busyboxImage,
  type EntrySpec,
  pushImage,
  pushManifest,
  writeLayout,
} from '../harness/images.ts';
import { startFront } from './front.ts';
import { ground, small, stored } from './ground.ts';
import { operation, startService } from './service.ts';

test('an image is found by each of its names, and by no other', async () => {
  await using at = await ground();
  const { host, url } = at.registry;
  const built = small('x', {
    User: '1003:1004',
    Env: ['A=b'],
    Entrypoint: ['/e'],
    Cmd: ['c'],
    WorkingDir: '/w',
    StopSignal: 'SIGINT',
    Volumes: { '/v': {} },
  });
  await pushImage(url, 'one/app', 'v1', built);
  await using service = await startService(at.root);
  const image = await service.service.pull({ reference: `${host}/one/app:v1` }, operation('pull'));
  assert.equal(image.id, built.config.digest);
  assert.deepEqual(image.repoTags, [`${host}/one/app:v1`]);
  assert.deepEqual(image.repoDigests, [`${host}/one/app@${built.manifest.digest}`]);
  assert.deepEqual([image.uid, image.username], [1003n, '']);
  assert.ok(image.size > 0);
  const names = [
    image.id,
    image.id.slice(7),
    image.id.slice(7, 19),
    image.id.slice(0, 20),
    ...image.repoTags,
    ...image.repoDigests,
    `${host}/one/app:v1@${built.manifest.digest}`,
  ];
  for (const name of names) assert.equal(service.service.status(name), service.service.list()[0], name);
  for (const name of [
    '',
    'x',
    `${host}/one/app`,
    `${host}/one/app:v2`,
    'one/app:v1',
    image.id.slice(7, 9),
    '!!',
    `sha256:${'0'.repeat(64)}`,
  ]) {
    assert.equal(service.service.status(name), undefined, name);
  }
  const found = service.service.find(image.id.slice(7, 19));
  assert.deepEqual([found?.name, found?.reference], [image.repoTags[0], image.repoDigests[0]]);
  assert.partialDeepStrictEqual(found?.config, {
    env: ['A=b'],
    entrypoint: ['/e'],
    cmd: ['c'],
    workingDir: '/w',
    user: '1003:1004',
    stopSignal: 'SIGINT',
    volumes: ['/v'],
  });
});

test('one config is one image, a tag belongs to one image', async () => {
  await using at = await ground();
  const { host, url } = at.registry;
  const [first, second] = [small('first'), small('second', { User: 'app' })];
  for (const name of ['a', 'b']) await pushImage(url, name, 'latest', first);
  await using opened = await startService(at.root);
  const { service } = opened;
  const pull = (reference: string) => service.pull({ reference: `${host}/${reference}` }, operation('pull'));
  const byDigest = await pull(`a@${first.manifest.digest}`);
  assert.deepEqual([byDigest.repoTags, byDigest.repoDigests], [[], [`${host}/a@${first.manifest.digest}`]]);
  await pull('a');
  const both = await pull('b:latest');
  assert.equal(service.list().length, 1);
  assert.deepEqual(both.repoTags, [`${host}/a:latest`, `${host}/b:latest`]);
  await pushImage(url, 'a', 'latest', second);
  const moved = await pull('a');
  assert.deepEqual(
    [moved.id, moved.repoTags, moved.username, moved.uid],
    [second.config.digest, [`${host}/a:latest`], 'app', undefined],
  );
  assert.deepEqual(service.status(first.config.digest)?.repoTags, [`${host}/b:latest`]);
  await using again = await startService(at.root);
  const records = (of: typeof service) => encode(of.list().map(({ record }) => record));
  assert.equal(records(again.service), records(service));
  assert.deepEqual(again.service.fsInfo().usedBytes, service.fsInfo().usedBytes);
});

test('skopeo pushes both formats, an index gives this machine its image', async () => {
  await using at = await ground();
  const { host, url } = at.registry;
  await using opened = await startService(at.root);
  const built = busyboxImage({ layers: [{ entries: [{ name: './' }, { name: 'z', content: 'z' }] }] });
  writeLayout(join(at.directory, 'layout'), 'x', built);
  for (const format of ['oci', 'v2s2']) {
    const options = [
      '--insecure-policy',
      'copy',
      '-q',
      '--dest-tls-verify=false',
      '--format',
      format,
      '--dest-compress-format',
      'gzip',
    ];
    execFileSync(
      'skopeo',
      [...options, `oci:${join(at.directory, 'layout')}:x`, `docker://${host}/skopeo:${format}`],
      { env: { ...process.env, TMPDIR: at.directory } },
    );
    const image = await opened.service.pull({ reference: `${host}/skopeo:${format}` }, operation('pull'));
    assert.equal(image.record.layers.length, 2);
  }
  for (const format of ['oci', 'docker'] as const) {
    const here = buildImage({ format, layers: [{ entries: [{ name: './' }, { name: format }] }] });
    const others = ['s390x', 'ppc64le'].map((architecture) =>
      buildImage({ format, layers: [], platform: { os: 'linux', architecture } }),
    );
    for (const image of [...others, here])
      await pushImage(url, `index-${format}`, image.platform.architecture, image);
    const index = buildIndex([...others, here], format);
    await pushManifest(url, `index-${format}`, 'all', index);
    const image = await opened.service.pull({ reference: `${host}/index-${format}:all` }, operation('pull'));
    assert.equal(image.id, here.config.digest);
    assert.deepEqual(image.repoDigests, [`${host}/index-${format}@${index.digest}`]);
  }
});

test('ten pulls at once are one transfer; two images share their layers', async () => {
  await using at = await ground();
  await using front = await startFront(at.registry.url);
  const shared: EntrySpec[] = [{ name: './' }, { name: 'base', content: 'b'.repeat(100_000) }];
  const images = ['one', 'two'].map((name) =>
    buildImage({ layers: [{ entries: shared }, { entries: [{ name: './' }, { name }] }] }),
  );
  for (const [index, image] of images.entries()) await pushImage(at.registry.url, `app${index}`, 'v1', image);
  await using opened = await startService(at.root);
  const pulls = Array.from({ length: 10 }, (_, n) =>
    opened.service.pull({ reference: `${front.host}/app${n % 2}:v1` }, operation('pull')),
  );
  const ids = new Set((await Promise.all(pulls)).map(({ id }) => id));
  assert.equal(ids.size, 2);
  const blobs = front.seen.map(({ url }) => url.split('/blobs/')[1]).filter((digest) => digest !== undefined);
  assert.equal(new Set(blobs).size, blobs.length, 'a blob was fetched twice');
  assert.equal(stored(at.root).layers.length, 3);
  assert.deepEqual(opened.service.pulls(), []);
});

test('a cancelled caller returns at once; the transfer ends with the last caller', async () => {
  await using at = await ground();
  const held: (() => void)[] = [];
  await using front = await startFront(at.registry.url, async (req) => {
    if (req.url?.includes('/blobs/')) await new Promise<void>((resolve) => held.push(resolve));
    return false;
  });
  const built = small('content');
  await pushImage(at.registry.url, 'app', 'v1', built);
  await using opened = await startService(at.root, { keepUnfinishedMs: 0, noByteMs: 20_000 });
  const pull = (signal: AbortSignal) =>
    opened.service.pull({ reference: `${front.host}/app:v1` }, operation('pull', signal));
  const controllers = [new AbortController(), new AbortController()];
  const pulls = controllers.map(({ signal }) => pull(signal));
  const settled = Promise.allSettled(pulls);
  while (held.length === 0) await sleep(5);
  assert.equal(opened.service.pulls().length, 1);
  controllers[0]?.abort();
  await assert.rejects(pulls[0] ?? Promise.resolve(), (error) => hasCode(error, 'Cancelled'));
  assert.equal(opened.service.pulls().length, 1, 'the other one still waits');
  controllers[1]?.abort();
  await settled;
  while (opened.service.pulls().length > 0) await sleep(5);
  await opened.service.collect();
  assert.deepEqual(opened.service.list(), []);
  assert.deepEqual(stored(at.root), { layers: [], blobs: [], staging: [] });
  front.rule = undefined;
  for (const release of held) release();
  await pull(new AbortController().signal);
  const aborted = AbortSignal.abort();
  await assert.rejects(pull(aborted), (error) => hasCode(error, 'Cancelled'));
});

test('an image with attributes of another machine: pulled, and the log names what is dropped', async () => {
  await using at = await ground();
  const xattrs = { 'trusted.foo': Buffer.from('v'), 'security.selinux': Buffer.from('v') };
  const marked = buildImage({ layers: [{ entries: [{ name: './' }, { name: 'f', content: 'x', xattrs }] }] });
  await pushImage(at.registry.url, 'app', 'v1', marked);
  const warnings: object[] = [];
  const log: Log = { ...silentLog, warn: (fields) => void warnings.push(fields), child: () => log };
  await using opened = await startService(at.root);
  const op = new Operation('pull', { log });
  await opened.service.pull({ reference: `${at.registry.host}/app:v1` }, op);
  const layer = marked.layers[0]?.digest;
  assert.deepEqual(warnings, [{ layer, attributes: [{ name: '"trusted.foo"', path: '"f"', files: 1 }] }]);
});
