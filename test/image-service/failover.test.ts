/** Endpoints that are down, mute or wrong: the next one serves the pull, at once. No wait below would end in time. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Front, type Rule, startFront } from './front.ts';
import { answer, fails, isBlob, type Scene, scene } from './scene.ts';
import { operation, startService, type TestService } from './service.ts';

const HOUR = 3_600_000;
const isManifest = (url: string | undefined): boolean => url?.includes('/manifests/') ?? false;
let services = 0;

/** A service whose registry is reg.example with these endpoints, and which waits for hours where it waits at all. */
const serviceOf = (at: Scene, urls: readonly string[], more = {}): Promise<TestService> =>
  startService(join(at.directory, `failover${services++}`), {
    registries: { 'reg.example': urls.map((url) => ({ url })) },
    attempts: 5,
    retryWaitMs: HOUR,
    noByteMs: HOUR,
    connectMs: HOUR,
    nextEndpointMs: 50,
    slowEndpointMs: 50,
    ...more,
  });
const pull = ({ service }: TestService, reference = 'reg.example/app:v1') =>
  service.pull({ reference }, operation('pull'));

const reply =
  (status: number, headers: Record<string, string>, body: string | Buffer): Rule =>
  (_, res) => {
    res.writeHead(status, headers).end(body);
    return true;
  };
const mute: Rule = () => true;
const reset: Rule = (_, res) => {
  res.destroy();
  return true;
};
/** Writes an edited form of each blob. */
const edited =
  (write: (bytes: Buffer, res: ServerResponse) => void): Rule =>
  (req, _res, forward) => {
    if (!isBlob(req.url)) return false;
    delete req.headers.range; // it sends all
    forward((answered, res) => {
      const pieces: Buffer[] = [];
      answered.on('data', (piece: Buffer) => pieces.push(piece));
      answered.on('end', () => write(Buffer.concat(pieces), res));
    });
    return true;
  };
const whole = (bytes: Buffer, res: ServerResponse) =>
  void res.writeHead(200, { 'content-length': String(bytes.length) }).end(bytes);
const flipped = (bytes: Buffer): Buffer =>
  Buffer.concat([Buffer.from([(bytes[0] ?? 0) ^ 1]), bytes.subarray(1)]);

const bad: Readonly<Record<string, Rule>> = {
  reset,
  mute,
  'too many requests': answer(429, { 'retry-after': '21600' }),
  'unavailable with a short wait': answer(503, { 'retry-after': '60' }),
  'bad gateway with a page': reply(502, { 'content-type': 'text/html' }, '<html>bad gateway</html>'),
  'a mute error': (_, res) => {
    res.writeHead(500, { 'content-length': '100' }).flushHeaders();
    return true;
  },
  unauthorized: answer(401),
  forbidden: answer(403),
  missing: answer(404),
  'a page of a login': reply(200, { 'content-type': 'text/html' }, '<html>please log in</html>'),
  'a page that claims to be a manifest': reply(
    200,
    { 'content-type': 'application/vnd.oci.image.manifest.v1+json' },
    '<html></html>',
  ),
  'an error in JSON': reply(200, { 'content-type': 'application/json' }, '{"errors":[{"code":"DENIED"}]}'),
  'an empty reply': answer(200),
  'a manifest of another digest': reply(
    200,
    { 'docker-content-digest': `sha256:${'0'.repeat(64)}` },
    '{"schemaVersion":2}',
  ),
  'blobs cut short': edited((bytes, res) => whole(bytes.subarray(0, bytes.length / 2), res)),
  'blobs cut short, in chunks': edited((bytes, res) => void res.writeHead(200).end(bytes.subarray(0, 20))),
  'blobs with more bytes': edited((bytes, res) => whole(Buffer.concat([bytes, bytes]), res)),
  'blobs with other bytes': edited((bytes, res) => whole(flipped(bytes), res)),
  'a page for each blob': (req, res) => isBlob(req.url) && !!res.writeHead(200).end('<html></html>'),
  'mute blobs': (req) => isBlob(req.url),
  'a redirect in circles': (req, res) => !!res.writeHead(302, { location: req.url ?? '/' }).end(),
};

test('the next endpoint is asked at once, whatever the first one does', async () => {
  await using at = await scene();
  for (const [what, rule] of Object.entries(bad)) {
    await using first = await startFront(at.registry, rule);
    await using service = await serviceOf(at, [first.url, at.front.url]);
    await pull(service).catch((error) => assert.fail(`${what}: ${error.message}`));
    assert.ok(first.seen.length > 0, what);
    assert.ok(first.seen.length < 40, `${what}: it is asked again and again`);
  }
});

test('the next endpoint is asked at once where no connection is made', async () => {
  await using at = await scene();
  const sockets = new Set<Socket>();
  const drop = (act: string) =>
    spawnSync('iptables', [act, ...'INPUT -i lo -p tcp --dport 9 -j DROP'.split(' ')]).status;
  assert.equal(drop('-A'), 0);
  const deaf = createServer((socket) => sockets.add(socket.on('error', () => {}))).listen(0, '127.0.0.1'); // accepts, and speaks neither HTTP nor TLS
  await once(deaf, 'listening');
  const { port } = deaf.address() as { port: number };
  try {
    for (const url of [
      'http://127.0.0.1:1',
      'http://127.0.0.1:9', // SYN is dropped
      'https://127.0.0.1:9',
      'http://no-such-host.invalid',
      `http://127.0.0.1:${port}`,
      `https://127.0.0.1:${port}`,
      at.front.url.replace('http:', 'https:'),
    ]) {
      await using service = await serviceOf(at, [url, at.front.url]);
      await pull(service).catch((error) => assert.fail(`${url}: ${error.message}`));
    }
  } finally {
    for (const socket of sockets) socket.destroy();
    deaf.close();
    drop('-D');
  }
});

/** The ranges of the large blob that were requested: '-' where all of it was. */
const ranges = (front: Front, large: string): string[] =>
  front.seen.filter(({ url }) => url.includes(large)).map(({ range }) => range ?? '-');

test('bytes of a transfer that broke off are continued elsewhere, wrong ones are not', async () => {
  await using at = await scene();
  let large = '';
  /** Sends a part of the large blob, then breaks. */
  const breaks = (edit: (bytes: Buffer) => Buffer) =>
    edited((bytes, res) => {
      if (bytes.length < 100_000) return whole(bytes, res);
      res.writeHead(200, { 'content-length': String(bytes.length) });
      res.write(edit(bytes.subarray(0, 50_000)), () => setTimeout(() => res.destroy(), 50));
    });
  const remember: Rule = (req, _res, forward) => {
    if (!isBlob(req.url)) return false;
    forward((answered, res) => {
      if (Number(answered.headers['content-length']) > 50_000) large = req.url ?? '';
      res.writeHead(answered.statusCode ?? 500, answered.headers);
      answered.pipe(res);
    });
    return true;
  };
  {
    await using first = await startFront(
      at.registry,
      breaks((bytes) => bytes),
    );
    await using second = await startFront(at.registry, remember);
    await using service = await serviceOf(at, [first.url, second.url], {
      nextEndpointMs: HOUR,
      slowEndpointMs: HOUR,
    });
    await pull(service);
    assert.match(ranges(second, large).join(), /^bytes=[1-9]\d+-$/);
  }
  await using liar = await startFront(at.registry, breaks(flipped));
  await using second = await startFront(at.registry, remember);
  await using third = await startFront(at.registry, remember);
  const urls = [liar, second, third].map(({ url }) => url);
  await using service = await serviceOf(at, urls, { nextEndpointMs: HOUR, slowEndpointMs: HOUR });
  await pull(service);
  assert.match(ranges(second, large).join(), /^bytes=[1-9]\d+-$/);
  assert.deepEqual(ranges(third, large), ['-'], 'from its first byte');
});

test('a mirror that takes its time to reply, as a cache does that is empty yet, is not overtaken', async () => {
  await using at = await scene();
  await using cache = await startFront(at.registry, async (req) => {
    if (!isBlob(req.url)) await sleep(6_000);
    return false;
  });
  await using upstream = await startFront(at.registry);
  const patience = { nextEndpointMs: 4_000, slowEndpointMs: HOUR };
  await using service = await serviceOf(at, [cache.url, upstream.url], patience);
  await pull(service);
  assert.deepEqual(upstream.seen, []);
});

test('an endpoint that failed is asked last by the next pulls, also by another worker', async () => {
  await using at = await scene();
  await using first = await startFront(at.registry, answer(503));
  await using missing = await startFront(at.registry, answer(404));
  const urls = [first.url, missing.url, at.front.url];
  await using service = await serviceOf(at, urls, { nextEndpointMs: HOUR, slowEndpointMs: HOUR });
  await pull(service);
  const before = first.seen.length;
  await pull(service, 'reg.example/app:v1');
  assert.equal(first.seen.length, before);
  assert.equal(
    missing.seen.filter(({ url }) => isManifest(url)).length,
    2,
    'one without this image is not down',
  );
  at.front.rule = answer(404);
  await fails(pull(service), 'NotFound', first.url);
  assert.ok(first.seen.length > before, 'it is asked where the others do not help');
});

test('a Retry-After beyond the limit is an error at once, which names the time', async () => {
  await using at = await scene(answer(429, { 'retry-after': '21600' }));
  await using service = await serviceOf(at, [at.front.url], { retryWaitMs: 30_000 });
  const error = await fails(pull(service), 'RegistryUnavailable', '429', '6 h', at.front.url);
  assert.match(error.hint, /log in|mirror/);
  assert.equal(at.front.seen.length, 1);
  at.front.rule = answer(503, { 'retry-after': new Date(Date.now() + 2 * HOUR).toUTCString() });
  await fails(pull(service), 'RegistryUnavailable', '503', '2 h');
  at.front.rule = answer(503, { 'retry-after': 'soon' });
  await using impatient = await serviceOf(at, [at.front.url], { retryWaitMs: 1, attempts: 3 });
  await fails(pull(impatient), 'RegistryUnavailable', '503');
});

test('all are asked round by round, and the error lists each with its own cause', async () => {
  await using at = await scene();
  await using first = await startFront(at.registry, answer(503));
  await using second = await startFront(at.registry, answer(429));
  const urls = [first.url, second.url, 'http://127.0.0.1:1'];
  await using service = await serviceOf(at, urls, { retryWaitMs: 1, attempts: 3 });
  const error = await fails(pull(service), 'RegistryUnavailable', ...urls, '503', '429', 'ECONNREFUSED');
  assert.equal(error.message.match(/\(RegistryUnavailable\)/g)?.length, 3);
  assert.equal(first.seen.length, 3);
  assert.equal(second.seen.length, 3);
  second.rule = answer(403);
  const refused = await fails(pull(service), 'PermissionDenied', '503', '403', 'ECONNREFUSED');
  assert.match(refused.message, /\(RegistryUnavailable\).*\(PermissionDenied\).*\(RegistryUnavailable\)/);
});

test('a manifest below the least rate is taken elsewhere', async () => {
  await using at = await scene();
  const timers = new Set<NodeJS.Timeout>();
  await using slow = await startFront(at.registry, (_, res) => {
    res.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' });
    timers.add(setInterval(() => res.write(' '), 20));
    return true;
  });
  const rate = { minRate: 10_000, minRateMs: 200, attempts: 2, retryWaitMs: 1, nextEndpointMs: HOUR };
  try {
    await using alone = await serviceOf(at, [slow.url], rate);
    await fails(pull(alone), 'RegistryUnavailable', 'manifest', slow.url, 'bytes per second');
    await using service = await serviceOf(at, [slow.url, at.front.url], rate);
    await pull(service);
  } finally {
    for (const timer of timers) clearInterval(timer);
  }
});

test('a transfer below the least rate is continued elsewhere', async () => {
  await using at = await scene();
  const timers = new Set<NodeJS.Timeout>();
  await using slow = await startFront(
    at.registry,
    edited((bytes, res) => {
      if (bytes.length < 100_000) return whole(bytes, res);
      res.writeHead(200, { 'content-length': String(bytes.length) });
      let sent = 0;
      timers.add(setInterval(() => res.write(bytes.subarray(sent, ++sent)), 20));
    }),
  );
  const rate = {
    minRate: 10_000,
    minRateMs: 200,
    attempts: 2,
    retryWaitMs: 1,
    nextEndpointMs: HOUR,
    slowEndpointMs: HOUR,
  };
  try {
    await using alone = await serviceOf(at, [slow.url], rate);
    await fails(pull(alone), 'RegistryUnavailable', slow.url, 'bytes per second');
    await using service = await serviceOf(at, [slow.url, at.front.url], rate);
    await pull(service);
    assert.ok(at.front.seen.some(({ range }) => /^bytes=[1-9]/.test(range ?? '')));
  } finally {
    for (const timer of timers) clearInterval(timer);
  }
});
