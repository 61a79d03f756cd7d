/** Layers that are unpacked while they arrive: what breaks, lies or waits on the way. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import { RingReader, ringMemory } from '#image-service/byte-ring.ts';
import { Downloads } from '#image-service/download/downloads.ts';
import { defaultImageOptions, type ImageServiceOptions, parseReference } from '#image-service/index.ts';
import { type BuiltImage, buildImage, type EntrySpec, type LayerSpec, pushImage } from '../harness/images.ts';
import { type Front, type Rule, startFront } from './front.ts';
import { type Ground, ground, stored } from './ground.ts';
import { isBlob } from './scene.ts';
import { operation, startService, type TestService } from './service.ts';

const HOUR = 3_600_000;
const never = new AbortController().signal;
const noise = (length: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, n) => ((n + 1) * 2654435761) >>> 24));
const content = noise(600_000);
const layerOf = (compression: NonNullable<LayerSpec['compression']>): BuiltImage =>
  buildImage({ layers: [{ entries: [{ name: './' }, { name: 'data', content }], compression }] });

const forms = ['erofs', 'directory'] as const;
let services = 0;
const serviceOf = (at: Ground, options: Partial<ImageServiceOptions>): Promise<TestService> =>
  startService(join(at.directory, `service${services++}`), {
    retryWaitMs: 1,
    nextEndpointMs: HOUR,
    slowEndpointMs: HOUR,
    noByteMs: HOUR,
    ...options,
  });
const pull = ({ service }: TestService, reference: string, signal?: AbortSignal) =>
  service.pull({ reference }, operation('pull', signal));

/** The only layer holds the file `data` as it was pushed, and nothing else is left. */
function assertWhole(opened: TestService, form: (typeof forms)[number], images: Map<string, string>): void {
  const { layers, staging } = stored(opened.root);
  assert.deepEqual(staging, []);
  const [layer] = layers;
  assert.ok(layer !== undefined && layers.length === 1);
  const directory = join(opened.root, 'layers', layer);
  if (form === 'directory') {
    assert.ok(readFileSync(join(directory, 'fs', 'data')).equals(content));
    return;
  }
  // The same layer is always the same image.
  const image = readFileSync(join(directory, 'layer.erofs')).toString('latin1');
  assert.ok(image.includes(content.subarray(0, 4096).toString('latin1')));
  const known = images.get(layer) ?? image;
  assert.ok(known === image, 'another image than by the pull before');
  images.set(layer, image);
}

const isLarge = (image: BuiltImage, url: string | undefined): boolean =>
  url?.endsWith(image.layers[0]?.digest ?? '-') ?? false;
const bytesOf = (image: BuiltImage): Buffer => image.layers[0]?.bytes ?? assert.fail('it has no layer');
const ranges = (front: Front, image: BuiltImage): (string | undefined)[] =>
  front.seen.filter(({ url }) => isLarge(image, url)).map(({ range }) => range);
const received = ({ service }: TestService): number => service.pulls()[0]?.layers[0]?.done ?? 0;

/** Sends the first bytes of the layer, once, and breaks when they have arrived. */
const breaksAt = (image: BuiltImage, length: number, opened: () => TestService): Rule =>
  (() => {
    let broken = false;
    return async (req, res) => {
      if (broken || !isLarge(image, req.url)) return false;
      broken = true;
      const bytes = bytesOf(image);
      res.writeHead(200, { 'content-length': String(bytes.length) });
      res.write(bytes.subarray(0, length));
      while (received(opened()) < length) await sleep(5);
      res.destroy();
      return true;
    };
  })();

test('a stream that breaks at each eighth goes on from there', async () => {
  await using at = await ground();
  const image = layerOf('gzip');
  await pushImage(at.registry.url, 'app', 'v1', image);
  await using front = await startFront(at.registry.url);
  const images = new Map<string, string>();
  for (let eighth = 1; eighth < 8; eighth++) {
    const form = forms[eighth % 2] ?? 'erofs';
    await using opened = await serviceOf(at, { layers: form });
    const length = Math.floor((bytesOf(image).length * eighth) / 8);
    front.seen.length = 0;
    front.rule = breaksAt(image, length, () => opened);
    await pull(opened, `${front.host}/app:v1`);
    assert.deepEqual(ranges(front, image), [undefined, `bytes=${length}-`]);
    assertWhole(opened, form, images);
  }
});

test('where the server cannot resume, the layer begins anew', async () => {
  await using at = await ground();
  const image = layerOf('none');
  await pushImage(at.registry.url, 'app', 'v1', image);
  await using front = await startFront(at.registry.url);
  for (const form of forms) {
    await using opened = await serviceOf(at, { layers: form });
    const once = breaksAt(image, bytesOf(image).length / 2, () => opened);
    front.rule = (req, res, forward) => {
      const rest = once(req, res, forward);
      delete req.headers.range;
      return rest;
    };
    await pull(opened, `${front.host}/app:v1`);
    assertWhole(opened, form, new Map());
  }
});

test('wrong bytes of a mirror leave nothing of theirs in the layer that the next one sends', async () => {
  await using at = await ground();
  for (const [compression, place] of [
    ['gzip', 0.5],
    ['none', 0.01],
    ['none', 0.9],
  ] as const) {
    const image = layerOf(compression);
    await pushImage(at.registry.url, 'app', 'v1', image);
    await using liar = await startFront(at.registry.url, (req, res) => {
      if (!isLarge(image, req.url)) return false;
      const bytes = Buffer.from(bytesOf(image));
      const wrong = Math.floor(bytes.length * place);
      bytes.fill(0x55, wrong, wrong + 700);
      res.writeHead(200, { 'content-length': String(bytes.length) }).end(bytes);
      return true;
    });
    await using right = await startFront(at.registry.url);
    for (const form of forms) {
      const registries = { 'reg.example': [{ url: liar.url }, { url: right.url }] };
      await using opened = await serviceOf(at, { layers: form, registries });
      await pull(opened, 'reg.example/app:v1');
      assert.equal(ranges(right, image).at(-1), undefined);
      assertWhole(opened, form, new Map());
    }
  }
});

test('a reader that takes its time is no stalled transfer', async () => {
  await using at = await ground();
  const data = noise(12 << 20);
  const image = buildImage({
    layers: [{ entries: [{ name: './' }, { name: 'data', content: data }], compression: 'none' }],
  });
  await pushImage(at.registry.url, 'app', 'v1', image);
  await using front = await startFront(at.registry.url);
  const limits = { noByteMs: 200, minRate: 1 << 30, minRateMs: 60_000, attempts: 1 };
  await using downloads = new Downloads({ ...defaultImageOptions, ...limits });
  using session = downloads.open(parseReference(`${front.host}/app:v1`), undefined);
  const to = ringMemory(4096);
  const bytes = bytesOf(image);
  const blob = { digest: image.layers[0]?.digest as Digest, size: bytes.length };
  const sent = session.stream(blob, { to, path: undefined }, () => {}, never);
  sent.catch(() => {});
  const reader = new RingReader(to);
  let length = 0;
  for (let piece = await reader.next(never); piece; piece = await reader.next(never)) {
    if (length === 0) await sleep(1_000);
    length += piece.length;
  }
  assert.equal(length, bytes.length);
  await sent;
  assert.deepEqual(ranges(front, image), [undefined]);
});

test('a pull that is cancelled midway leaves no file, no descriptor and no thread', async () => {
  await using at = await ground();
  const image = layerOf('none');
  await pushImage(at.registry.url, 'app', 'v1', image);
  const half = bytesOf(image).length / 2;
  await using front = await startFront(at.registry.url, (req, res) => {
    if (!isLarge(image, req.url)) return false;
    res.writeHead(200, { 'content-length': String(2 * half) }).write(bytesOf(image).subarray(0, half));
    return true; // the rest never comes
  });
  const threads = () => readdirSync('/proc/self/task').length;
  const before = threads();
  for (const form of forms) {
    await using opened = await serviceOf(at, { layers: form, keepBlobs: true });
    const cancel = new AbortController();
    const pulling = pull(opened, `${front.host}/app:v1`, cancel.signal);
    pulling.catch(() => {});
    while (received(opened) < half) await sleep(5);
    cancel.abort();
    await assert.rejects(pulling, (error) => hasCode(error, 'Cancelled'));
    while (opened.service.pulls().length > 0) await sleep(5);
    assert.deepEqual(stored(opened.root).staging, []);
    assert.deepEqual(stored(opened.root).layers, []);
  }
  while (threads() > before) await sleep(20);
});

/** Each but the lowest writes below a directory without an entry for it, and links to a file of the one below. */
const dependent = (count: number): EntrySpec[][] =>
  Array.from({ length: count }, (_, n) => {
    if (n === 0) return [{ name: './' }, { name: 'd/', mode: 0o711 }, { name: 'd/f0', content: '0' }];
    return [
      { name: `d/f${n}`, content: `${n}` },
      { name: `link${n}`, type: 'hardlink', link: `d/f${n - 1}` },
    ];
  });

test('layers that wait for those below let them pass, however few workers there are', async () => {
  await using at = await ground();
  const image = buildImage({ layers: dependent(6).map((entries) => ({ entries })) });
  await pushImage(at.registry.url, 'app', 'v1', image);
  for (const layers of forms) {
    for (const unpackWorkers of [1, 2]) {
      await using front = await startFront(at.registry.url);
      // One worker takes the lowest layer first; of two one waits with its image, so all can be asked for before.
      const upper = unpackWorkers === 1 ? [] : image.layers.slice(1);
      const wanted = new Set(upper.map(({ digest }) => digest));
      const asked = Promise.withResolvers<void>();
      front.rule = async (req) => {
        wanted.delete(image.layers.find(({ digest }) => req.url?.endsWith(digest))?.digest ?? '');
        if (wanted.size === 0) asked.resolve();
        if (isLarge(image, req.url)) await asked.promise; // the lowest one is last
        return false;
      };
      await using opened = await serviceOf(at, { layers, unpackWorkers });
      await pull(opened, `${front.host}/app:v1`);
      assert.equal(stored(opened.root).layers.length, 6);
      assert.deepEqual(stored(opened.root).staging, []);
    }
  }
});

test('ten pulls at once: no more transfers than are allowed, and each of them ends', async () => {
  await using at = await ground();
  const images = Array.from({ length: 10 }, (_, n) =>
    buildImage({
      layers: [
        { entries: [{ name: './' }, { name: `f${n}`, content: noise(50_000 + n) }], compression: 'none' },
      ],
    }),
  );
  for (const [n, image] of images.entries()) await pushImage(at.registry.url, 'app', `v${n}`, image);
  let [running, most] = [0, 0];
  await using front = await startFront(at.registry.url, async (req, res) => {
    if (!isBlob(req.url) || !images.some((image) => isLarge(image, req.url))) return false;
    most = Math.max(most, ++running);
    res.once('close', () => running--);
    await sleep(30);
    return false;
  });
  await using opened = await serviceOf(at, { parallelDownloads: 3 });
  await Promise.all(images.map((_, n) => pull(opened, `${front.host}/app:v${n}`)));
  assert.equal(opened.service.list().length, 10);
  assert.ok(most <= 3, `${most} at once`);
  assert.equal(stored(opened.root).blobs.length, 20, 'manifests and configs, no layers');
});

test('keep_blobs: the stream is a file as well', async () => {
  await using at = await ground();
  const image = layerOf('gzip');
  await pushImage(at.registry.url, 'app', 'v1', image);
  await using front = await startFront(at.registry.url);
  await using opened = await serviceOf(at, { keepBlobs: true });
  front.rule = breaksAt(image, 1000, () => opened);
  await pull(opened, `${front.host}/app:v1`);
  const path = join(opened.root, 'content/blobs/sha256', image.layers[0]?.digest.slice(7) ?? '');
  assert.ok(readFileSync(path).equals(bytesOf(image)));
  assert.deepEqual(ranges(front, image), [undefined, 'bytes=1000-']);
});
