/**
 * Layers that are EROFS images, cut off everywhere: SIGKILL at any step of a start, a pull, a mount and a removal. What is
 * listed is whole, nothing is mounted twice, nothing is left, and the next pull completes.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { assertSameTree, type SeenTree } from '../image-service/erofs/tree-view.ts';
import { operation, startService } from '../image-service/service.ts';
import { assertMountedOnce, assertWhole, ImageGround, mountsBelow, residue } from './image-ground.ts';
import { untilNone } from './residue.ts';
import { Chances } from './seed.ts';

const VICTIM = join(import.meta.dirname, 'image-victim.ts');
/** Each starts two daemons. */
const KILLS = Number(process.env['CRISP_TEST_KILLS'] ?? 5);
const FORM = { layers: 'erofs' } as const;
let ground: ImageGround;
let expected: SeenTree;

before(async () => {
  ground = await ImageGround.make();
  await using opened = await startService(ground.root(), FORM);
  expected = await ground.pull(opened.service);
});
after(() => ground[Symbol.asyncDispose]());

/** The steps that the victim has come to, and whether it was killed. */
function victim(root: string, step: number, phase: string): { steps: readonly string[]; isKilled: boolean } {
  const { signal, status, stdout, stderr } = spawnSync(
    process.execPath,
    [VICTIM, root, ground.reference, String(step), phase],
    { encoding: 'utf8' },
  );
  assert.ok(signal === 'SIGKILL' || status === 0, stderr);
  return { steps: stdout.trim().split('\n'), isKilled: signal === 'SIGKILL' };
}

/** What the next daemon finds, and that it does its work. */
async function judge(root: string, where: string): Promise<void> {
  {
    await using opened = await startService(root, FORM);
    const { service } = opened;
    assertWhole(root, service);
    assertMountedOnce(root);
    // As a container does from its own record, which has the intent of this mount.
    await service.rootfs.unmount(join(root, 'target'));
    for (const { id } of service.list()) assertSameTree(await ground.look(service, id), expected, where);
    assertSameTree(await ground.pull(service), expected, where);
    assertWhole(root, service);
    assertMountedOnce(root);
    await service.remove(ground.reference, operation('remove'));
    await service.collect();
    await untilNone(where, () => residue(root));
  }
  assert.deepEqual(mountsBelow(root), [], where);
  rmSync(root, { recursive: true });
}

test('killed at any step of a start, a pull, a mount and a removal, the next daemon has whole layers and loses nothing', async () => {
  const { steps } = victim(ground.root(), 0, '');
  const count = steps.length / 2;
  console.log(
    `# ${count} steps: ${steps.filter((step) => / behind /.test(step)).map((step) => step.replace(/^\d+ behind /, ''))}`,
  );
  const chances = new Chances();
  let kills = 0;
  // One in each of as many equal parts; another seed has others.
  for (let part = 0; part < KILLS; part++) {
    const step = 1 + Math.floor(((part + chances.next()) * count) / KILLS);
    const phase = chances.next() < 0.5 ? 'before' : 'behind';
    const root = ground.root();
    await chances.at(`killed ${phase} step ${step} of ${count}`, async () => {
      const { isKilled, steps: passed } = victim(root, step, phase);
      if (isKilled) kills++;
      await judge(root, `the last step: ${passed.at(-1)}`);
    });
  }
  console.log(`# ${kills} kills`);
  assert.ok(kills >= KILLS / 2);
});
