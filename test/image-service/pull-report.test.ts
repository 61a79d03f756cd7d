/** What a pull reports at its end: one log line, and what is measured. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { type Log, Operation, silentLog } from '#core/operation.ts';
import type { ImageServiceOptions, PullObserver } from '#image-service/index.ts';
import { buildImage, pushImage } from '../harness/images.ts';
import { startFront } from './front.ts';
import { ground, small } from './ground.ts';
import { freePort } from './registry.ts';
import { answer, isBlob } from './scene.ts';
import { startService } from './service.ts';

interface Line {
  readonly level: string;
  readonly message: string;
  readonly fields: Record<string, unknown>;
}

function recorder() {
  const lines: Line[] = [];
  const write = (level: string) => (fields: object, message: string) =>
    lines.push({ level, message, fields: fields as Record<string, unknown> });
  const log: Log = {
    ...silentLog,
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: () => log,
  };
  const events: unknown[][] = [];
  const observer: PullObserver = {
    fetched: (from, bytes) => events.push(['fetched', from.kind, from.registry, from.configured, bytes > 0]),
    unpacked: (ms) => events.push(['unpacked', ms > 0]),
    pulled: ({ ms, id: _, ...result }) => events.push(['pulled', ms > 0, result]),
  };
  return { lines, events, log, observer };
}

async function puller(root: string, options: Partial<ImageServiceOptions> = {}) {
  const { lines, events, log, observer } = recorder();
  const opened = await startService(root, options, undefined, undefined, observer);
  const pull = (reference: string, auth?: { username: string; password: string }) =>
    opened.service.pull({ reference, ...(auth ? { auth } : {}) }, new Operation('PullImage', { log }));
  return { ...opened, lines, events, pull };
}

const shared = { entries: [{ name: './' }, { name: 'shared', content: 'shared' }] };
const tagged = (name: string) => buildImage({ layers: [shared, { entries: [{ name: './' }, { name }] }] });

test('a pull that two callers share is one line: from where, how much, how long; the next has a shared layer', async () => {
  await using at = await ground();
  const [one, two] = [tagged('one'), tagged('two')];
  await pushImage(at.registry.url, 'app', 'one', one);
  await pushImage(at.registry.url, 'app', 'two', two);
  await using opened = await puller(at.root);
  const { host, url } = at.registry;
  await Promise.all([opened.pull(`${host}/app:one`), opened.pull(`${host}/app:one`)]);
  await opened.pull(`${host}/app:two`);
  assert.equal(opened.lines.length, 2);
  const [first, second] = opened.lines;
  const bytes = [one.manifest, one.config, ...one.layers].reduce((sum, blob) => sum + blob.bytes.length, 0);
  assert.partialDeepStrictEqual(first, {
    level: 'info',
    message: 'image pulled',
    fields: {
      image: `${host}/app:one`,
      imageId: one.config.digest,
      digest: one.manifest.digest,
      from: url,
      bytes,
      layers: { fetched: 2, shared: 0 },
      callers: 2,
    },
  });
  assert.deepEqual(Object.keys(first?.fields['stages'] as object).sort(), [
    'commit',
    'fetch',
    'resolve',
    'unpack',
    'verify',
  ]);
  assert.partialDeepStrictEqual(second?.fields, { layers: { fetched: 1, shared: 1 }, callers: 1 });
  const pulled = opened.events.filter(([name]) => name === 'pulled');
  const result = { code: undefined, source: 'registry' };
  assert.deepEqual(pulled, [
    ['pulled', true, { ...result, layers: { fetched: 2, shared: 0 } }],
    ['pulled', true, { ...result, layers: { fetched: 1, shared: 1 } }],
  ]);
  assert.equal(opened.events.filter(([name]) => name === 'unpacked').length, 3);
  const fetched = opened.events.filter(([name]) => name === 'fetched');
  assert.deepEqual(fetched[0], ['fetched', 'registry', host, false, true]);
  assert.equal(fetched.length, 7, 'two manifests, two configs, three layers');
});

test('several endpoints: who served what, and why the others did not', async () => {
  await using at = await ground();
  await pushImage(at.registry.url, 'app', 'v1', small('content'));
  await using mirror = await startFront(
    at.registry.url,
    (req, res, forward) => isBlob(req.url) && answer(404)(req, res, forward),
  );
  const down = `http://127.0.0.1:${await freePort()}`;
  const endpoints = [down, mirror.url, at.registry.url].map((url) => ({ url }));
  await using opened = await puller(at.root, { registries: { [at.registry.host]: endpoints }, attempts: 1 });
  await opened.pull(`${at.registry.host}/app:v1`);
  const [{ level, fields }] = opened.lines as [Line];
  assert.equal(level, 'info');
  const served = fields['endpoints'] as { endpoint: string; blobs: number; bytes: number }[];
  assert.deepEqual(
    served.map(({ endpoint, blobs, bytes }) => [endpoint, blobs, bytes > 0]),
    [
      [mirror.url, 0, true],
      [at.registry.url, 2, true],
    ],
  );
  const failed = fields['failed'] as { endpoint: string; cause: string }[];
  assert.deepEqual(
    failed.map(({ endpoint }) => endpoint),
    [down, mirror.url],
  );
  assert.match(failed[0]?.cause ?? '', /^ECONNREFUSED/);
  assert.match(failed[1]?.cause ?? '', /404/);
  assert.deepEqual(opened.events.find(([name]) => name === 'fetched')?.slice(1, 4), [
    'mirror',
    at.registry.host,
    true,
  ]);
});

test('a failed pull is one warning with the cause of each endpoint once, and no secret', async () => {
  await using at = await ground();
  await using denies = await startFront(at.registry.url, (req, res) => {
    const moved = req.url?.includes('moved');
    res.writeHead(moved ? 403 : 307, { location: 'http://localhost:1/moved?signature=hunter2' }).end();
    return true;
  });
  await using forbids = await startFront(at.registry.url, answer(403));
  const endpoints = [denies.url, forbids.url].map((url) => ({ url }));
  await using opened = await puller(at.root, { registries: { 'r.test': endpoints }, attempts: 1 });
  const auth = { username: 'user', password: 'hunter2' };
  await assert.rejects(opened.pull('r.test/app:v1', auth));
  assert.equal(opened.lines.length, 1);
  const [{ level, message, fields }] = opened.lines as [Line];
  assert.deepEqual([level, message], ['warn', 'image not pulled']);
  const text = JSON.stringify(fields);
  for (const { url } of [denies, forbids]) assert.equal(text.split(url).length, 2, text);
  assert.doesNotMatch(text, /hunter2/);
  assert.deepEqual(opened.events, [
    ['pulled', true, { code: fields['code'], source: 'none', layers: undefined }],
  ]);
});

test('a pull that its callers cancel is no warning', async () => {
  await using at = await ground();
  await pushImage(at.registry.url, 'app', 'v1', small('content'));
  const asked = Promise.withResolvers<void>();
  await using front = await startFront(at.registry.url, () => {
    asked.resolve();
    return true;
  });
  const { lines, log, observer } = recorder();
  await using opened = await startService(join(at.directory, 'images'), {}, undefined, undefined, observer);
  const controller = new AbortController();
  const op = new Operation('PullImage', { log, signal: controller.signal });
  const pulled = opened.service.pull({ reference: `${front.host}/app:v1` }, op);
  await asked.promise;
  controller.abort();
  await assert.rejects(pulled);
  while (opened.service.pulls().length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.partialDeepStrictEqual(lines, [{ level: 'info', fields: { code: 'Cancelled', callers: 1 } }]);
});
