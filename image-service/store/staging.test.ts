import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { files } from '#linux/fs/files.ts';
import { refused } from '#linux/libc/errno.ts';
import { stageLayer } from './staged-layer.ts';
import { Staging } from './staging.ts';

test('what cannot be deleted is remembered and reported, and hides no error', async () => {
  let refuses = true;
  let reported = 0;
  const staging = new Staging(
    '/staging',
    {
      ...files,
      async removeTree() {
        if (refuses) throw refused('remove', 'EMFILE');
      },
    },
    () => reported++,
  );
  await staging.discard('/staging/layer-1');
  await assert.rejects(staging.remove('/staging/layer-2'), /EMFILE/);
  assert.deepEqual(staging.leftovers(), ['/staging/layer-1', '/staging/layer-2']);
  assert.equal(reported, 2);
  refuses = false;
  for (const path of staging.leftovers()) await staging.remove(path);
  assert.deepEqual(staging.leftovers(), []);
});

test('few trees are deleted at once: each takes a thread and descriptors', async () => {
  let running = 0;
  let peak = 0;
  const staging = new Staging(
    '/staging',
    {
      ...files,
      async removeTree() {
        peak = Math.max(peak, ++running);
        await new Promise(setImmediate);
        running--;
      },
    },
    () => {},
  );
  await Promise.all(Array.from({ length: 40 }, (_, n) => staging.remove(`/staging/layer-${n}`)));
  assert.equal(peak, 2);
});

test('a single file does not wait for trees', async () => {
  const trees = Promise.withResolvers<void>();
  const staging = new Staging(
    '/staging',
    { ...files, removeTree: (path) => (path.includes('tree') ? trees.promise : Promise.resolve()) },
    () => {},
  );
  const removals = [1, 2, 3].map((n) => staging.remove(`/staging/tree-${n}`));
  await staging.remove('/staging/image', { isTree: false });
  trees.resolve();
  await Promise.all(removals);
});

test('the end of a layer that is an image waits for no trees that are being deleted', async () => {
  const base = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'staging-'));
  try {
    const trees = Promise.withResolvers<void>();
    const removeTree = (path: string) => (path.includes('tree') ? trees.promise : files.removeTree(path));
    const staging = new Staging(base, { ...files, removeTree }, () => {});
    const removals = [1, 2].map((n) => staging.remove(join(base, `tree-${n}`)));
    {
      await using _staged = await stageLayer(staging, 'erofs');
    }
    trees.resolve();
    await Promise.all(removals);
  } finally {
    rmSync(base, { recursive: true });
  }
});
