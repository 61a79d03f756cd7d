/** Servers that encode what they send, though crisp asks for it as it is: caches in front of registries do. */
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import test from 'node:test';
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import type { Edit, Rule } from './front.ts';
import { fails, isBlob, type Scene, scene } from './scene.ts';
import { operation } from './service.ts';

type Write = (bytes: Buffer, res: ServerResponse) => void;

/** Writes an edited form of each successful response whole. */
const edited =
  (write: Write, wanted: (url: string | undefined) => boolean = () => true): Rule =>
  (req, _res, forward) => {
    if (!wanted(req.url)) return false;
    delete req.headers.range;
    const edit: Edit = (answered, res) => {
      const pieces: Buffer[] = [];
      answered.on('data', (piece: Buffer) => pieces.push(piece));
      answered.on('end', () => {
        res.statusCode = 200;
        res.setHeader('content-type', answered.headers['content-type'] ?? 'application/octet-stream');
        write(Buffer.concat(pieces), res);
      });
    };
    forward(edit);
    return true;
  };
const pullable = async (at: Scene, rule: Rule): Promise<void> => {
  at.front.rule = rule;
  await at.pull();
  await at.pulled.service.remove(`${at.front.host}/app:v1`, operation('remove'));
  await at.pulled.service.collect();
};

test('manifests and blobs in the encodings that containerd reads', async () => {
  await using at = await scene();
  for (const [name, encode] of [
    ['gzip', gzipSync],
    ['X-GZIP', gzipSync],
    ['deflate', deflateSync],
    ['zstd', zstdCompressSync],
  ] as const) {
    const asWhole = edited((bytes, res) => {
      const sent = encode(bytes);
      res.setHeader('content-length', sent.length);
      res.setHeader('content-encoding', name).end(sent);
    });
    await pullable(at, asWhole);
    const inChunks = edited((bytes, res) => {
      res.setHeader('content-encoding', name).write(encode(bytes));
      res.end();
    });
    await pullable(at, inChunks);
  }
});

test('a blob that has its size is not encoded, whatever the response says', async () => {
  await using at = await scene();
  const labelled = edited((bytes, res) => {
    res.setHeader('content-length', bytes.length);
    res.setHeader('content-encoding', 'gzip').end(bytes);
  }, isBlob);
  await pullable(at, labelled);
});

test('an encoded transfer that broke off begins anew', async () => {
  await using at = await scene();
  let broken = 0;
  const breaking = edited((bytes, res) => {
    const sent = gzipSync(bytes);
    res.setHeader('content-encoding', 'gzip');
    if (bytes.length < 100_000 || broken++ > 0) return void res.end(sent);
    res.write(sent.subarray(0, sent.length >> 1), () => setTimeout(() => res.destroy(), 50));
  }, isBlob);
  await pullable(at, breaking);
  assert.ok(broken > 1);
});

test('what expands to more than the blob, or cannot be decoded, is refused', async () => {
  await using at = await scene();
  const bomb = gzipSync(Buffer.alloc(64 << 20));
  at.front.rule = edited((_, res) => void res.setHeader('content-encoding', 'gzip').end(bomb), isBlob);
  await fails(at.pull(), 'DataLoss', 'more than');
  at.front.rule = edited((_, res) => void res.setHeader('content-encoding', 'gzip').end(bomb));
  await fails(at.pull(), 'FailedPrecondition', 'more than 4194304 bytes');
  for (const sent of [Buffer.from('not gzip at all'), bomb.subarray(0, 40)]) {
    at.front.rule = edited((_, res) => void res.setHeader('content-encoding', 'gzip').end(sent));
    await fails(at.pull(), 'RegistryUnavailable', 'manifest', at.front.url, 'Content-Encoding gzip');
  }
});
