/** Pulls over bad connections and from bad servers: the errors that clients get. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { ErrorCode } from '#core/errors.ts';
import { buildImage, jsonBlob, pushImage, pushManifest } from '../harness/images.ts';
import type { Rule } from './front.ts';
import { answer, fails, image, isBlob, scene } from './scene.ts';
import { operation, startService } from './service.ts';

test('statuses become codes that name the endpoint', async () => {
  await using at = await scene();
  for (const [status, code] of [
    [401, 'Unauthenticated'],
    [403, 'PermissionDenied'],
    [404, 'NotFound'],
    [429, 'RegistryUnavailable'],
    [500, 'RegistryUnavailable'],
    [503, 'RegistryUnavailable'],
    [418, 'FailedPrecondition'],
  ] as const) {
    at.front.rule = answer(status);
    await fails(at.pull(), code, at.front.url, String(status), 'manifest v1');
  }
  at.front.rule = (req, res, forward) => isBlob(req.url) && answer(404)(req, res, forward);
  await fails(at.pull(), 'NotFound', 'blob sha256:');
  assert.deepEqual(at.pulled.service.list(), []);
});

test('a registry that is not there is unavailable', async () => {
  await using at = await scene();
  const gone = at.pulled.service.pull({ reference: '127.0.0.1:1/app:v1' }, operation('pull'));
  await fails(gone, 'RegistryUnavailable', '127.0.0.1:1', 'ECONNREFUSED');
});

test('transient failures are retried, Retry-After included', async () => {
  let troubles = 0;
  await using at = await scene(
    (req, res, forward) =>
      troubles++ < 2 && answer(troubles === 1 ? 503 : 429, { 'retry-after': '0' })(req, res, forward),
  );
  await at.pull();
  assert.equal(at.pulled.service.list().length, 1);
});

test('an interrupted transfer is resumed at its position', async () => {
  const broken = new Set<string>();
  await using at = await scene((req, _res, forward) => {
    if (!isBlob(req.url) || broken.has(req.url ?? '')) return false;
    forward((answered, res) => {
      const length = Number(answered.headers['content-length']);
      res.writeHead(answered.statusCode ?? 500, answered.headers);
      if (length < 100_000) return void answered.pipe(res);
      broken.add(req.url ?? '');
      let sent = 0;
      answered.on('data', (piece: Buffer) => {
        res.write(piece);
        sent += piece.length;
        if (sent > length / 2) res.destroy();
      });
    });
    return true;
  });
  await at.pull();
  assert.ok(broken.size >= 2);
  for (const url of broken) {
    const tries = at.front.seen.filter((one) => one.url === url);
    assert.equal(tries.length, 2);
    assert.match(tries[1]?.range ?? '', /^bytes=[1-9]\d+-$/);
  }
});

test('a transfer from a server that ignores ranges restarts', async () => {
  let first = true;
  await using at = await scene((req, _res, forward) => {
    delete req.headers.range;
    if (!isBlob(req.url) || !first) return false;
    forward((answered, res) => {
      first = false;
      res.writeHead(200, answered.headers);
      answered.once('data', (piece: Buffer) => res.write(piece.subarray(0, 10), () => res.destroy()));
    });
    return true;
  });
  await at.pull();
});

test('wrong content is detected and leaves nothing', async () => {
  await using at = await scene();
  const lie =
    (edit: (bytes: Buffer) => Buffer, about: (url: string | undefined) => boolean): Rule =>
    (req, _res, forward) => {
      if (!about(req.url)) return false;
      forward((answered, res) => {
        const pieces: Buffer[] = [];
        answered
          .on('data', (piece: Buffer) => pieces.push(piece))
          .on('end', () => {
            const bytes = edit(Buffer.concat(pieces));
            res.writeHead(200, { ...answered.headers, 'content-length': String(bytes.length) }).end(bytes);
          });
      });
      return true;
    };
  const flip = (bytes: Buffer) =>
    Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])]);
  at.front.rule = lie(flip, isBlob);
  await fails(at.pull(), 'DataLoss', 'digest');
  at.front.rule = lie((bytes) => Buffer.concat([bytes, bytes]), isBlob);
  await fails(at.pull(), 'DataLoss', 'more than');
  at.front.rule = lie(
    (bytes) => Buffer.concat([bytes, Buffer.from(' ')]),
    (url) => url?.includes('/manifests/') ?? false,
  );
  await fails(at.pull(), 'DataLoss', 'digest');
  at.front.rule = lie((bytes) => bytes.subarray(0, -3), isBlob);
  await fails(at.pull(), 'DataLoss', 'fewer than');
  assert.deepEqual(at.pulled.service.list(), []);
  assert.deepEqual(readdirSync(join(at.pulled.root, 'staging')), []);
  at.front.rule = undefined;
  await at.pull();
});

test('a stalled transfer times out, with the name of its host', async () => {
  await using at = await scene((req, _res, forward) => {
    if (!isBlob(req.url)) return false;
    forward((answered, res) => {
      res.writeHead(200, answered.headers);
      answered.once('data', (piece: Buffer) => res.write(piece.subarray(0, 7)));
    });
    return true;
  });
  await using quick = await startService(join(at.directory, 'quick'), { noByteMs: 300, attempts: 1 });
  const pull = quick.service.pull({ reference: `${at.front.host}/app:v1` }, operation('pull'));
  await fails(pull, 'RegistryUnavailable', at.front.url, 'no byte for', 'after 7 bytes');
});

test('a manifest without end is refused', async () => {
  await using at = await scene((_req, res) => {
    res.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' });
    const more = () => {
      while (!res.destroyed && res.write(Buffer.alloc(1 << 16, 0x20)));
      if (!res.destroyed) res.once('drain', more);
    };
    more();
    return true;
  });
  await fails(at.pull(), 'FailedPrecondition', 'more than 4194304 bytes');
});

test('what is not an image for this machine is refused by its name', async () => {
  await using at = await scene();
  const media = 'application/vnd.oci.image.manifest.v1+json';
  const cases: [object, ErrorCode, string][] = [
    [{ schemaVersion: 1, fsLayers: [] }, 'Unimplemented', 'schema 1'],
    [{ schemaVersion: 2, mediaType: media, config: {}, layers: [] }, 'DataLoss', 'config'],
    [{ schemaVersion: 2, mediaType: media, config: {}, layers: [], manifests: [] }, 'DataLoss', 'both'],
    [{ schemaVersion: 2, mediaType: 'text/plain' }, 'Unimplemented', 'media type'],
  ];
  const { config } = JSON.parse(image.manifest.bytes.toString());
  for (const [layer, code, word] of [
    [
      { mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', urls: ['http://x/'] },
      'Unimplemented',
      'foreign',
    ],
    [
      { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted' },
      'Unimplemented',
      'an encrypted layer',
    ],
    [
      { mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip' },
      'Unimplemented',
      'foreign',
    ],
    [{ mediaType: 'application/vnd.example.layer' }, 'Unimplemented', 'vnd.example.layer'],
    [
      { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: `sha512:${'a'.repeat(128)}` },
      'Unimplemented',
      'sha512',
    ],
    [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: 'sha256:../../x' }, 'DataLoss', 'digest'],
  ] as const) {
    const layers = [{ digest: image.config.digest, size: 1, ...layer }];
    cases.push([{ schemaVersion: 2, mediaType: media, config, layers }, code, word]);
  }
  for (const [manifest, code, word] of cases) {
    at.front.rule = (_req, res) => {
      res.writeHead(200, { 'content-type': media }).end(JSON.stringify(manifest));
      return true;
    };
    await fails(at.pull(), code, word);
  }
  at.front.rule = undefined;
  const other = buildImage({ layers: [], platform: { os: 'linux', architecture: 's390x' } });
  await pushImage(at.registry, 'app', 'v1', other);
  await pushManifest(
    at.registry,
    'app',
    'v1',
    jsonBlob('application/vnd.oci.image.index.v1+json', {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [
        {
          mediaType: media,
          digest: other.manifest.digest,
          size: other.manifest.bytes.length,
          platform: other.platform,
        },
      ],
    }),
  );
  await fails(at.pull(), 'FailedPrecondition', 'linux/s390x');
});
