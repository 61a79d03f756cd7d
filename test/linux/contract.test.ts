import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import { fakeKernel } from '#linux/fake/index.ts';
import { openKernel } from '#linux/index.ts';
import { contract } from './contract.ts';
import { scratch } from './scratch.ts';

contract('real', await openKernel());
contract('fake v2', fakeKernel());
contract('fake v1', fakeKernel({ cgroupVersion: 1 }));

test('a fake kernel fails and waits as it is set up', async (t) => {
  const root = scratch(t);
  const { faults, files, mounts, cgroups, processes } = fakeKernel({
    program: () => ({ status: { code: 3, signal: undefined }, stdout: Buffer.from('out') }),
  });
  faults.fail('files.writeAtomic', new CrispError('ResourceExhausted', 'full', { errno: 'ENOSPC' }));
  await assert.rejects(files.writeAtomic(join(root, 'a'), ''), (error) =>
    hasCode(error, 'ResourceExhausted'),
  );
  await files.writeAtomic(join(root, 'a'), '');
  faults.fail('cgroups.read', new Error('sync'), 2);
  for (let n = 0; n < 2; n++) assert.throws(() => cgroups.read('/a', 'pids.max'), /sync/);
  assert.equal(cgroups.read('/a', 'pids.max'), undefined);
  const gate = Promise.withResolvers<void>();
  faults.hold('mounts.tmpfs', gate.promise);
  const mounting = mounts.tmpfs({ target: root });
  assert.deepEqual(mounts.below(root), []);
  gate.resolve();
  await mounting;
  assert.equal(mounts.below(root).length, 1);
  const { status, stdout } = await processes.run({ argv: ['x'], env: {} }, AbortSignal.timeout(5000));
  assert.deepEqual([status.code, stdout.toString()], [3, 'out']);
  assert.deepEqual(faults.calls.slice(0, 2), ['files.writeAtomic', 'files.writeAtomic']);
});
