/** Which blobs stay in the store, and what an export says and gets where they are missing. */
import assert from 'node:assert/strict';
import { createReadStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { type CrispError, hasCode } from '#core/errors.ts';
import type { ImageService } from '#image-service/index.ts';
import { buildImage, pushImage } from '../harness/images.ts';
import { ground, stored } from './ground.ts';
import { operation, startService } from './service.ts';

const base = { entries: [{ name: './' }, { name: 'base', content: 'base' }] };
const built = buildImage({ layers: [base, { entries: [{ name: './' }, { name: 'a', content: 'a' }] }] });
const other = buildImage({ layers: [base, { entries: [{ name: './' }, { name: 'b', content: 'b' }] }] });
const hexOf = (blobs: readonly { readonly digest: string }[]) =>
  blobs.map(({ digest }) => digest.slice(7)).sort();
const metadata = (...images: readonly (typeof built)[]) =>
  hexOf(images.flatMap(({ config, manifest }) => [config, manifest]));

async function exported(service: ImageService, ...references: string[]): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of service.export(references, operation('export'))) pieces.push(piece);
  return Buffer.concat(pieces);
}

const refusal = (pieces: Promise<unknown>): Promise<CrispError> =>
  pieces.then(
    () => assert.fail('it was exported'),
    (error: unknown) => {
      assert.ok(hasCode(error, 'FailedPrecondition'));
      return error;
    },
  );

test('blobs of layers stay only with image.keep_blobs; a pull then adds them to an image that is present', async () => {
  await using at = await ground();
  for (const [name, image] of Object.entries({ app: built, other }))
    await pushImage(at.registry.url, name, 'v1', image);
  const reference = (name: string) => `${at.registry.host}/${name}:v1`;
  const pull = (service: ImageService, name: string) =>
    service.pull({ reference: reference(name) }, operation('pull'));
  {
    await using opened = await startService(at.root);
    const { record, size } = await pull(opened.service, 'app');
    await opened.service.collect();
    assert.deepEqual(stored(at.root).blobs.sort(), metadata(built));
    assert.deepEqual(hexOf(record.blobs.map((digest) => ({ digest }))), metadata(built));
    assert.equal(BigInt(size), opened.service.fsInfo().usedBytes);
    const error = await refusal(exported(opened.service, reference('app')));
    assert.match(
      error.message,
      /2 blobs, the first sha256:[0-9a-f]{64}, of .*\/app:v1 are not in the store \(\d+ bytes\)/,
    );
    assert.match(error.hint, /^set image\.keep_blobs = true, restart crisp, then pull it again/);
  }
  {
    await using opened = await startService(at.root, { keepBlobs: true });
    const { service } = opened;
    assert.match((await refusal(exported(service, reference('app')))).hint, /^pull it again/);
    const { record } = await pull(service, 'app');
    assert.equal(record.blobs.length, 4);
    await service.collect();
    assert.deepEqual(stored(at.root).blobs.sort(), [...metadata(built), ...hexOf(built.layers)].sort());
    writeFileSync(join(at.directory, 'app.tar'), await exported(service, reference('app')));
    assert.equal(BigInt(service.status(reference('app'))?.size ?? 0), service.fsInfo().usedBytes);
  }
  await using opened = await startService(at.root);
  const { service } = opened;
  await pull(service, 'app');
  await pull(service, 'other');
  await service.collect();
  const kept = [...metadata(built, other), ...hexOf(built.layers)].sort();
  assert.deepEqual(
    stored(at.root).blobs.sort(),
    kept,
    'what an image has stays; of another only what they share',
  );
  await exported(service, reference('app'));
  await refusal(exported(service, reference('app'), reference('other')));
  await service.remove(reference('app'), operation('remove'));
  await service.collect();
  assert.deepEqual(
    stored(at.root).blobs.sort(),
    [...metadata(other), built.layers[0]?.digest.slice(7)].sort(),
  );
});

test('an archive brings the blobs of its layers, which stay only with image.keep_blobs', async () => {
  await using at = await ground();
  await pushImage(at.registry.url, 'app', 'v1', built);
  const file = join(at.directory, 'app.tar');
  const name = `${at.registry.host}/app:v1`;
  {
    await using opened = await startService(join(at.directory, 'first'), { keepBlobs: true });
    await opened.service.pull({ reference: name }, operation('pull'));
    writeFileSync(file, await exported(opened.service, name));
  }
  const importTo = (service: ImageService) =>
    service.import({ source: createReadStream(file) }, operation('import'));
  {
    await using opened = await startService(at.root);
    const [image] = await importTo(opened.service);
    assert.equal(image?.id, built.config.digest);
    await opened.service.collect();
    assert.deepEqual(stored(at.root).blobs.sort(), metadata(built));
  }
  await using opened = await startService(at.root, { keepBlobs: true });
  await importTo(opened.service);
  await opened.service.collect();
  assert.deepEqual(stored(at.root).blobs.sort(), [...metadata(built), ...hexOf(built.layers)].sort());
  await exported(opened.service, name);
});
