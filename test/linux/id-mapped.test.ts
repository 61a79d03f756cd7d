/** Bind mounts whose owners are numbered as a user namespace does. */
import assert from 'node:assert/strict';
import { chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { hasCode } from '#core/errors.ts';
import { openKernel } from '#linux/index.ts';
import { scratch } from './scratch.ts';

const kernel = await openKernel();
after(() => kernel.close());
const { mounts, namespaces, processes } = kernel;
const ids = [{ containerId: 0, hostId: 400_000, length: 1000 }];

test('owners are shown as the namespace numbers them, below too where it is recursive; others have the overflow id', async (t) => {
  const root = scratch(t, mounts);
  const at = (...path: string[]) => join(root, ...path);
  for (const path of ['pins', 'source', 'source/below', 'mapped', 'lower', 'overlay', 'refused'])
    mkdirSync(at(path));
  const wanted = { kinds: ['user', 'uts'], pins: at('pins'), sysctls: {}, oomScoreAdj: 0 } as const;
  const userNamespace = { uids: ids, gids: ids };
  const held = await namespaces.hold({ ...wanted, userNamespace }, AbortSignal.timeout(20_000));
  t.after(() => processes.signal(held.process, 9));
  t.after(() => namespaces.unpin(at('pins')));
  const idMap = held.pins.user ?? '';
  writeFileSync(at('source/root'), '');
  writeFileSync(at('source/other'), '');
  chownSync(at('source/other'), 7, 5000);
  await mounts.tmpfs({ target: at('source/below') });
  await mounts.bind({ source: at('source'), target: at('mapped'), idMap, readonly: true, recursive: true });
  const owner = (path: string) => {
    const { uid, gid } = statSync(at(path));
    return [uid, gid];
  };
  assert.deepEqual(owner('mapped/root'), [400_000, 400_000]);
  assert.deepEqual(owner('mapped/other'), [400_007, 65_534]);
  assert.deepEqual(owner('mapped/below'), [400_000, 400_000]);
  assert.deepEqual(owner('source/other'), [7, 5000], 'the files are as they were');
  assert.throws(() => writeFileSync(at('mapped/new'), ''), { code: 'EROFS' });

  await mounts.overlay({ target: at('overlay'), lower: [at('mapped'), at('lower')] });
  assert.deepEqual(owner('overlay/root'), [400_000, 400_000]);
  await assert.rejects(
    mounts.bind({ source: at('overlay'), target: at('refused'), idMap }),
    (error) =>
      hasCode(error, 'FailedPrecondition') &&
      /id-mapped: EINVAL/.test(error.message) &&
      /ext4/.test(error.hint),
  );
  assert.ok(!mounts.below(root).some(({ target }) => target === at('refused')));
  await held.abandon();
});
