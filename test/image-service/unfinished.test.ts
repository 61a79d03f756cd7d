/** What the end of a daemon leaves of a pull: its retry goes on with the layers that are durable, and none stays for long. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { buildImage, pushImage } from '../harness/images.ts';
import { recordIn, writeRecord } from './erofs-store.ts';
import { type Front, startFront } from './front.ts';
import { type Ground, ground, stored } from './ground.ts';
import { operation, startService } from './service.ts';

const built = buildImage({
  layers: ['one', 'two'].map((name) => ({ entries: [{ name: './' }, { name, content: name }] })),
});
const [first, second] = built.layers.map(({ digest }) => digest);
const fetched = ({ seen }: Front, digest = '') => seen.filter(({ url }) => url.includes(digest)).length;

/** A store with the first of two layers, whose pull the second has ended. */
async function begun(at: Ground, layers: 'erofs' | 'directory'): Promise<Front & { reference: string }> {
  await pushImage(at.registry.url, 'app', 'v1', built);
  const front = await startFront(at.registry.url, async (req, res) => {
    if (!req.url?.includes(second ?? '')) return false;
    while (stored(at.root).layers.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    res.writeHead(404).end();
    return true;
  });
  await using opened = await startService(at.root, { layers });
  const reference = `${front.host}/app:v1`;
  await assert.rejects(opened.service.pull({ reference }, operation('pull')));
  assert.equal(stored(at.root).layers.length, 1);
  front.rule = undefined;
  front.seen.length = 0;
  return Object.assign(front, { reference });
}

test('a layer that is an EROFS image is not fetched again after a restart; without the retry it goes', async () => {
  await using at = await ground();
  await using front = await begun(at, 'erofs');
  const [kept] = stored(at.root).layers;
  {
    await using opened = await startService(at.root, { layers: 'erofs' });
    assert.deepEqual(opened.service.list(), []);
    await opened.service.pull({ reference: front.reference }, operation('pull'));
    assert.deepEqual([fetched(front, first), fetched(front, second)], [0, 1]);
    assert.ok(stored(at.root).layers.includes(kept ?? ''));
    await opened.service.remove(front.reference, operation('remove'));
    await opened.service.collect();
    assert.deepEqual(stored(at.root), { layers: [], blobs: [], staging: [] });
  }
});

test('what is kept goes with the removal of an image, listed or not, and after its time', async () => {
  for (const how of ['removal', 'time'] as const) {
    await using at = await ground();
    await using front = await begun(at, 'erofs');
    const keepUnfinishedMs = how === 'time' ? 200 : 3_600_000;
    await using opened = await startService(at.root, { layers: 'erofs', keepUnfinishedMs });
    if (how === 'removal') assert.equal(opened.service.layers().stored.erofs, 1);
    if (how === 'removal') await opened.service.remove(front.reference, operation('remove'));
    while (stored(at.root).layers.length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(opened.service.fsInfo().usedBytes, 0n);
  }
});

test('a layer in a directory is not trusted, and one that is too old, or of a time to come, is not kept', async () => {
  {
    await using at = await ground();
    await using _front = await begun(at, 'directory');
    await using opened = await startService(at.root, { layers: 'directory' });
    assert.equal(opened.service.layers().stored.directory, 0);
  }
  for (const hours of [-2, 2]) {
    await using at = await ground();
    await using _front = await begun(at, 'erofs');
    const layer = join(at.root, 'layers', stored(at.root).layers[0] ?? '');
    const created = BigInt(Date.now() + hours * 3_600_000) * 1_000_000n;
    writeRecord(layer, { ...recordIn(layer), created });
    await using opened = await startService(at.root, { layers: 'erofs' });
    assert.equal(opened.service.layers().stored.erofs, 0);
  }
});
