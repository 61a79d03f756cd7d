/** Pulls of images that are present: the registry is asked by HEAD, and nothing that is there is fetched again. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { buildImage, jsonBlob, pushImage, pushManifest } from '../harness/images.ts';
import { startFront } from './front.ts';
import { answer, fails, image, scene } from './scene.ts';
import { operation, startService } from './service.ts';

const INDEX = 'application/vnd.oci.image.index.v1+json';
const methods = (seen: readonly { method: string; url: string }[]): string[] =>
  seen.map(({ method, url }) => `${method} ${url}`);

test('ten pulls of a present tag are ten HEADs and no GET', async () => {
  await using at = await scene();
  const { digest } = image.manifest;
  await pushManifest(
    at.registry,
    'app',
    'multi',
    jsonBlob(INDEX, {
      schemaVersion: 2,
      mediaType: INDEX,
      manifests: [
        {
          mediaType: 'application/vnd.oci.image.manifest.v1+json',
          digest,
          size: image.manifest.bytes.length,
          platform: image.platform,
        },
      ],
    }),
  );
  for (const name of ['app:v1', `app@${digest}`, 'app:multi']) {
    const reference = `${at.front.host}/${name}`;
    const pull = () => at.pulled.service.pull({ reference }, operation('pull'));
    const { id } = await pull();
    at.front.seen.length = 0;
    for (let n = 0; n < 10; n++) assert.equal((await pull()).id, id);
    const path = `/v2/app/manifests/${name.split(/[:@](.*)/)[1]}`;
    assert.deepEqual(methods(at.front.seen), Array(10).fill(`HEAD ${path}`));
  }
});

test('a tag that has moved is noticed', async () => {
  await using at = await scene();
  const before = (await at.pull()) as { id: string };
  const other = buildImage({ layers: [{ entries: [{ name: './' }, { name: 'other', content: 'x' }] }] });
  await pushImage(at.registry, 'app', 'v1', other);
  at.front.seen.length = 0;
  const after = (await at.pull()) as { id: string; repoTags: string[] };
  assert.notEqual(after.id, before.id);
  assert.deepEqual(after.repoTags, [`${at.front.host}/app:v1`]);
  assert.deepEqual(methods(at.front.seen).slice(0, 2), [
    'HEAD /v2/app/manifests/v1',
    `GET /v2/app/manifests/${other.manifest.digest}`,
  ]);
});

test('a registry without HEAD, or without a digest in its reply, is asked by GET', async () => {
  await using at = await scene();
  await at.pull();
  for (const rule of [
    answer(405),
    answer(501),
    answer(400),
    answer(200),
    answer(200, { 'docker-content-digest': 'sha512:0' }),
    answer(200, { 'content-type': 'text/html' }),
  ]) {
    at.front.rule = (req, res, forward) => req.method === 'HEAD' && rule(req, res, forward);
    at.front.seen.length = 0;
    await at.pull();
    assert.deepEqual(methods(at.front.seen), ['HEAD /v2/app/manifests/v1', 'GET /v2/app/manifests/v1']);
  }
});

test('the credentials of a pull are proven, also where the image is present', async () => {
  await using at = await scene();
  const right = `Basic ${Buffer.from('u:right').toString('base64')}`;
  at.front.rule = (req, res) => {
    if (req.headers.authorization === right) return !delete req.headers.authorization;
    res.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    return true;
  };
  const auth = { username: 'u', password: 'right' };
  await at.pull(auth);
  await at.pull(auth);
  await fails(at.pull(), 'Unauthenticated', '401');
  await fails(at.pull({ ...auth, password: 'hunter2' }), 'Unauthenticated');
  for (const [status, code] of [
    [403, 'PermissionDenied'],
    [404, 'NotFound'],
    [429, 'RegistryUnavailable'],
    [503, 'RegistryUnavailable'],
  ] as const) {
    at.front.rule = answer(status);
    await fails(at.pull(auth), code, String(status));
  }
});

test('of several endpoints the next one proves them where the first is down', async () => {
  await using at = await scene();
  await using first = await startFront(at.registry);
  const registries = { 'reg.example': [{ url: first.url }, { url: at.front.url }] };
  await using node = await startService(join(at.directory, 'node'), { registries });
  const pull = () => node.service.pull({ reference: 'reg.example/app:v1' }, operation('pull'));
  await pull();
  first.rule = answer(503);
  at.front.seen.length = 0;
  await pull();
  assert.deepEqual(methods(at.front.seen), ['HEAD /v2/app/manifests/v1?ns=reg.example']);
});
