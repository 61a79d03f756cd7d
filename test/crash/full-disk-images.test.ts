/** A disk that is full while layers are pulled as EROFS images: a pull is whole or leaves nothing, and no block is lost. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statfsSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { assertSameTree } from '../image-service/erofs/tree-view.ts';
import { operation, startService } from '../image-service/service.ts';
import { assertWhole, ImageGround, residue } from './image-ground.ts';
import { LoopDisk, obstacle } from './loop-disk.ts';
import { untilNone } from './residue.ts';

const FORM = { layers: 'erofs' } as const;
/** Of so many sizes one is tried; 1: the disk is full at each block. */
const STRIDE = Number(process.env['CRISP_TEST_BLOCKS'] ?? 3);
const base = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'full-'));
/** A block of an image, in bytes. */
const BLOCK = 4096;
/** Pulls that are to succeed at the end: by then also what comes behind the last layer has been cut off at each block. */
const ENOUGH = 3;
const why = obstacle('ext4', join(base, 'try'));

test('on a disk that is full at any size a pull is whole or leaves nothing', {
  skip: why ?? false,
}, async () => {
  await using ground = await ImageGround.make();
  const disk = new LoopDisk('ext4', join(base, 'disk'));
  try {
    const root = join(disk.root, 'images');
    mkdirSync(root);
    await using opened = await startService(root, { ...FORM, keepUnfinishedMs: 0, attempts: 1 });
    const { service } = opened;
    // What a store makes once is there after it.
    const free = (): number => {
      disk.sync();
      return Number(statfsSync(disk.root).bfree);
    };
    const expected = await ground.pull(service);
    await service.remove(ground.reference, operation('remove'));
    await service.collect();
    await untilNone('at the start', () => residue(root));
    const all = free();
    let succeeded = 0;
    let failed = 0;
    for (let blocks = 0; succeeded < ENOUGH; blocks += STRIDE) {
      assert.ok(blocks < 2000, 'no pull succeeds');
      fill(disk.root, blocks);
      const outcome = await service
        .pull({ reference: ground.reference }, operation('pull'))
        .catch((error: Error) => error);
      const where = `${blocks} blocks free: ${outcome}`;
      if (outcome instanceof Error) {
        failed++;
        assert.ok(outcome instanceof CrispError && outcome.hint !== '', where);
        assert.deepEqual(service.list(), [], where);
      } else {
        succeeded++;
        assertWhole(root, service);
        rmSync(join(disk.root, 'filler'));
        assertSameTree(await ground.look(service, outcome.id), expected, where);
      }
      await service.remove(ground.reference, operation('remove'));
      await service.collect();
      rmSync(join(disk.root, 'filler'), { force: true });
      // What is deleted in the background takes its time.
      await untilNone(where, () => residue(root));
      const lost = () => (free() === all ? [] : [`${all - free()} blocks are lost`]);
      await untilNone(where, lost);
    }
    console.log(`# full at each of ${failed} blocks; then ${succeeded} pulls succeeded`);
    assert.ok(failed > 10 / STRIDE, `${failed}`);
    assertSameTree(await ground.pull(service), expected, 'at the end');
  } finally {
    disk.remove();
    rmSync(base, { recursive: true, force: true });
  }
});

/** Fills the disk to its last block, then gives so many back. */
function fill(directory: string, blocks: number): void {
  const path = join(directory, 'filler');
  const { bfree, bsize } = statfsSync(directory);
  writeFileSync(path, '');
  // It says that the disk is full, and keeps what it has got.
  spawnSync('fallocate', ['-l', String(bfree * bsize), path], { stdio: 'ignore' });
  truncateSync(path, statSync(path).size - blocks * BLOCK);
}
