/** A pull or an import that fails while it unpacks has deleted its files from the staging directory when it returns. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '#core/errors.ts';
import {
  type BuiltImage,
  buildImage,
  descriptor,
  type EntrySpec,
  makeTar,
  pushImage,
} from '../harness/images.ts';
import { type Ground, ground } from './ground.ts';
import { operation, startService } from './service.ts';

const many = (name: string, count: number): EntrySpec[] =>
  Array.from({ length: count }, (_, n) => ({ name: `${name}/${n % 50}/${n}`, content: `${n}` }));
const broken: EntrySpec = { name: '../outside', content: 'x' };
const brokenSecond = (): BuiltImage =>
  buildImage({
    layers: [
      { entries: [{ name: './' }, ...many('one', 1_500)] },
      { entries: [{ name: './' }, ...many('two', 500), broken] },
      { entries: [{ name: './' }, ...many('three', 1_500)] },
    ],
  });

const staged = (at: Ground): string[] => readdirSync(join(at.root, 'staging'));

/** Resolves when a layer is being unpacked. */
async function unpacking(at: Ground): Promise<void> {
  while (!staged(at).some((name) => name.startsWith('layer-'))) await sleep(1);
}

test('a broken second layer after many files', async () => {
  await using at = await ground();
  await using opened = await startService(at.root);
  await pushImage(at.registry.url, 'app', 'v1', brokenSecond());
  for (let n = 0; n < 2; n++) {
    await assert.rejects(
      opened.service.pull({ reference: `${at.registry.host}/app:v1` }, operation('pull')),
      (error) => hasCode(error, 'InvalidArgument'),
    );
    assert.deepEqual(staged(at), []);
  }
});

test('a broken layer while one below it is unpacked, for which one above it waits', async () => {
  await using at = await ground();
  await using opened = await startService(at.root, { unpackWorkers: 3 });
  // Their parents are not in them: what is above waits for what is below.
  const image = buildImage({
    layers: [
      { entries: many('one', 10_000) },
      { entries: [...many('two', 1_000), broken] },
      { entries: many('three', 10) },
    ],
  });
  await pushImage(at.registry.url, 'app', 'v1', image);
  const reference = `${at.registry.host}/app:v1`;
  for (let n = 0; n < 2; n++) {
    await assert.rejects(opened.service.pull({ reference }, operation('pull')), /layer 1 /);
    assert.deepEqual(staged(at), []);
  }
});

test('a cancelled pull, and one whose layer reaches its deadline', async () => {
  await using at = await ground();
  const image = buildImage({ layers: [{ entries: [{ name: './' }, ...many('one', 8_000)] }] });
  await pushImage(at.registry.url, 'app', 'v1', image);
  const reference = `${at.registry.host}/app:v1`;
  {
    await using opened = await startService(at.root);
    const cancel = new AbortController();
    const pull = opened.service.pull({ reference }, operation('pull', cancel.signal));
    pull.catch(() => {});
    await unpacking(at);
    cancel.abort();
    await assert.rejects(pull, (error) => hasCode(error, 'Cancelled'));
    while (opened.service.pulls().length > 0) await sleep(5);
    assert.deepEqual(staged(at), []);
  }
  await using opened = await startService(at.root, { unpackMs: 1 });
  await assert.rejects(opened.service.pull({ reference }, operation('pull')), (error) =>
    hasCode(error, 'DeadlineExceeded'),
  );
  assert.deepEqual(staged(at), []);
});

test('a thread that ends during its work', async () => {
  await using at = await ground();
  const image = buildImage({ layers: [{ entries: [{ name: './' }, ...many('one', 8_000)] }] });
  await pushImage(at.registry.url, 'app', 'v1', image);
  await using opened = await startService(at.root);
  const pull = opened.service.pull({ reference: `${at.registry.host}/app:v1` }, operation('pull'));
  pull.catch(() => {});
  await unpacking(at);
  // The end of the service terminates its threads.
  await opened.service.close();
  await assert.rejects(pull);
  assert.deepEqual(staged(at), []);
});

test('an import with a broken layer', async () => {
  await using at = await ground();
  await using opened = await startService(at.root);
  const image = brokenSecond();
  const blob = (digest: string) => `blobs/sha256/${digest.slice(7)}`;
  const archive = makeTar([
    ...[image.manifest, image.config, ...image.layers].map(({ digest, bytes }) => ({
      name: blob(digest),
      content: bytes,
    })),
    {
      name: 'index.json',
      content: JSON.stringify({ schemaVersion: 2, manifests: [descriptor(image.manifest)] }),
    },
  ]);
  const source = Readable.from([archive]);
  await assert.rejects(opened.service.import({ source }, operation('import')), (error) =>
    hasCode(error, 'InvalidArgument'),
  );
  assert.deepEqual(staged(at), []);
});
