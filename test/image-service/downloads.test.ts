/** The download worker: it ends when idle, its death and its silence are errors of the calls, cancelled calls stop in it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { hasCode } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import { Downloads } from '#image-service/download/downloads.ts';
import { DownloadThread } from '#image-service/download/thread.ts';
import { defaultImageOptions, parseReference } from '#image-service/index.ts';
import { pushImage } from '../harness/images.ts';
import { type Front, startFront } from './front.ts';
import { startRegistry } from './registry.ts';
import { fails, image, isBlob } from './scene.ts';
import { operation, startService, testDirectory } from './service.ts';

const never = new AbortController().signal;
const startWorker = (options: typeof defaultImageOptions): Worker =>
  new Worker(new URL('../../image-service/download/worker.ts', import.meta.url), {
    workerData: { options, failed: [] },
  });
const threads = () => readdirSync('/proc/self/task').length;
const openFiles = () =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // closed meanwhile
    }
  });
const layer = image.layers[1] ?? assert.fail('the image has no second layer');
const blob = { digest: layer.digest as Digest, size: layer.bytes.length };

async function registryWithFront(directory: string): Promise<AsyncDisposable & { front: Front }> {
  await using stack = new AsyncDisposableStack();
  const registry = stack.use(await startRegistry(join(directory, 'registry')));
  await pushImage(registry.url, 'app', 'v1', image);
  const front = stack.use(await startFront(registry.url));
  const owned = stack.move();
  return { front, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

test('the worker starts with the first session and ends when there has been none for a while', async () => {
  using directory = testDirectory();
  await using at = await registryWithFront(directory.path);
  const options = { ...defaultImageOptions, workerIdleMs: 50 };
  const before = threads();
  let started = 0;
  let ended = Promise.withResolvers<void>();
  await using downloads = new Downloads(options, (gone) => {
    started++;
    return new DownloadThread(startWorker(options), (thread) => {
      gone(thread);
      ended.resolve();
    });
  });
  assert.equal(threads(), before);
  for (const count of [1, 2]) {
    for (let n = 0; n < 3; n++) {
      using session = downloads.open(parseReference(`${at.front.host}/app:v1`), undefined);
      await session.manifest('v1', never);
    }
    assert.ok(started >= count);
    await ended.promise;
    ended = Promise.withResolvers<void>();
  }
});

test('ten tags pulled at once that share their layers: each blob is fetched once', async () => {
  using directory = testDirectory();
  await using registry = await startRegistry(join(directory.path, 'registry'));
  await using front = await startFront(registry.url);
  for (let n = 0; n < 10; n++) await pushImage(registry.url, 'app', `v${n}`, image);
  await using opened = await startService(join(directory.path, 'images'));
  const pulls = Array.from({ length: 10 }, (_, n) =>
    opened.service.pull({ reference: `${front.host}/app:v${n}` }, operation('pull')),
  );
  assert.equal((await Promise.all(pulls)).length, 10);
  const blobs = front.seen.filter(({ url }) => isBlob(url)).map(({ url }) => url);
  assert.deepEqual(blobs.toSorted(), [...new Set(blobs)].toSorted());
  assert.equal(opened.service.list()[0]?.repoTags.length, 10);
});

test('the death of the worker fails its calls by name, and the next call starts another', async () => {
  using directory = testDirectory();
  await using at = await registryWithFront(directory.path);
  at.front.rule = (req) => isBlob(req.url); // never answered
  const started: DownloadThread[] = [];
  await using downloads = new Downloads(defaultImageOptions, (ended) => {
    const thread = new DownloadThread(startWorker(defaultImageOptions), ended);
    started.push(thread);
    return thread;
  });
  using session = downloads.open(parseReference(`${at.front.host}/app:v1`), undefined);
  const path = join(directory.path, 'blob');
  writeFileSync(path, '');
  const lost = session.file(blob, path, () => {}, never);
  while (!at.front.seen.some(({ url }) => isBlob(url))) await sleep(5);
  await started[0]?.end();
  await fails(lost, 'Unavailable', 'the download worker failed');
  assert.ok(!openFiles().includes(path));
  at.front.rule = undefined;
  await session.file(blob, path, () => {}, never);
  assert.equal(started.length, 2);
  assert.ok(!openFiles().includes(path));
});

test('a worker that does not answer is ended, and its calls fail', async () => {
  const mute = new Worker("require('node:worker_threads').parentPort.on('message', () => {})", {
    eval: true,
  });
  await once(mute, 'online');
  await using downloads = new Downloads(defaultImageOptions, (ended) => new DownloadThread(mute, ended, 20));
  using session = downloads.open(parseReference('registry.test/app:v1'), undefined);
  await fails(session.manifest('v1', never), 'Unavailable', 'the download worker failed', 'not answered');
});

test('a cancelled transfer stops in the worker; others go on, also after their session is closed', async () => {
  using directory = testDirectory();
  await using at = await registryWithFront(directory.path);
  const held = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<void>();
  at.front.rule = async (req) => {
    if (!isBlob(req.url)) return false;
    req.once('close', () => closed.resolve());
    await held.promise;
    return false;
  };
  await using downloads = new Downloads(defaultImageOptions);
  const session = downloads.open(parseReference(`${at.front.host}/app:v1`), undefined);
  const [one, two] = ['one', 'two'].map((name) => join(directory.path, name)) as [string, string];
  for (const path of [one, two]) writeFileSync(path, '');
  const controller = new AbortController();
  const cancelled = session.file(blob, one, () => {}, controller.signal);
  const kept = session.file(blob, two, () => {}, never);
  session[Symbol.dispose]();
  while (at.front.seen.length < 2) await sleep(5);
  controller.abort(new Error('enough'));
  await assert.rejects(cancelled, /enough/);
  await closed.promise;
  held.resolve();
  await kept;
  assert.equal((await session.bytes(blob, never)).bytes.length, blob.size);
  const missing = session.file(blob, join(directory.path, 'deleted'), () => {}, never);
  await assert.rejects(missing, (error) => hasCode(error, 'NotFound') || /ENOENT/.test(String(error)));
});

test('other options are for later sessions; the worker before ends with its last session', async () => {
  using directory = testDirectory();
  await using at = await registryWithFront(directory.path);
  await using mirror = await startFront(`http://${at.front.host}`);
  const reference = parseReference(`${at.front.host}/app:v1`);
  const mirrored = {
    ...defaultImageOptions,
    registries: { [at.front.host]: [{ url: `http://${mirror.host}/v2` }] },
  };
  const given = [defaultImageOptions, mirrored];
  const ends: Promise<void>[] = [];
  await using downloads = new Downloads(defaultImageOptions, (gone) => {
    const end = Promise.withResolvers<void>();
    const worker = startWorker(given[ends.push(end.promise) - 1] ?? assert.fail('a third worker'));
    return new DownloadThread(worker, (thread) => {
      gone(thread);
      end.resolve();
    });
  });
  const before = downloads.open(reference, undefined);
  await before.manifest('v1', never);
  downloads.update(mirrored);
  using later = downloads.open(reference, undefined);
  await later.manifest('v1', never);
  assert.equal(mirror.seen.length, 1);
  await before.bytes(blob, never);
  assert.equal(mirror.seen.length, 1, 'the session before asks where it began');
  before[Symbol.dispose]();
  await ends[0];
  await later.bytes(blob, never);
  assert.equal(ends.length, 2);
});
