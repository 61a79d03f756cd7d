/** Pulls that wait for the same content have it of different registries, and do not share what happens to those. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildArtifact } from '../harness/artifacts.ts';
import { type BuiltImage, buildImage, pushImage } from '../harness/images.ts';
import { startFront } from './front.ts';
import { ground, small } from './ground.ts';
import { operation, startService } from './service.ts';

const image = small('content');
const artifact = buildArtifact({ files: [{ title: 'file', content: 'content' }] });

/** A pull of `first`, whose last blob its registry answers with this status, and one of `second` that joins it. */
async function joined(first: BuiltImage, second: BuiltImage, status?: number): Promise<void> {
  await using at = await ground();
  await pushImage(at.registry.url, 'first', 'v1', first);
  await pushImage(at.registry.url, 'second', 'v1', second);
  const [asked, reply] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await using bad = await startFront(at.registry.url, async (req, res) => {
    if (!req.url?.endsWith(first.layers.at(-1)?.digest ?? '')) return false;
    asked.resolve();
    await reply.promise;
    if (status !== undefined) res.writeHead(status).end();
    return status !== undefined;
  });
  await using opened = await startService(at.root);
  const { service } = opened;
  const failing = service.pull({ reference: `${bad.host}/first:v1` }, operation('pull'));
  failing.catch(() => {});
  await asked.promise;
  const reference = `${at.registry.host}/second:v1`;
  const waiting = service.pull({ reference }, operation('pull'));
  waiting.catch(() => {});
  while (service.pulls(reference)[0]?.layers.length !== second.layers.length) await sleep(5);
  await sleep(100); // it waits for what the other one fetches
  reply.resolve();
  await assert.rejects(failing);
  const pulled = await waiting;
  assert.deepEqual(service.list(), [pulled]);
}

for (const [name, content] of [
  ['an image', image],
  ['an artifact', artifact],
] as const)
  for (const status of [200, 401, 404, 429, 503])
    test(`${name} whose blob another registry answers with ${status}`, () =>
      joined(content, content, status));

test('an image whose layer another image claims to have', () => {
  const layers = [{ entries: [{ name: './' }, { name: 'other' }] }];
  const { rootfs } = JSON.parse(image.config.bytes.toString()) as { rootfs: { diff_ids: string[] } };
  return joined(buildImage({ layers, diffIds: rootfs.diff_ids }), image);
});
