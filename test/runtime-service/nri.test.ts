/** The ports of NRI on real pods and containers, with plugins in this process. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { nriCases } from './nri-cases.ts';

await nriCases('runc');

const HIDE = 'umount -l /sys/fs/cgroup/unified && exec "$@"';
const CHILD_MS = 300_000;

test('the same with crun, in a mount namespace where it works', () => {
  const isHybrid = existsSync('/sys/fs/cgroup/unified/cgroup.controllers');
  const hidden = ['unshare', '-m', '--propagation', 'private', 'sh', '-c', HIDE, 'sh'];
  const [program = '', ...args] = [
    ...(isHybrid ? hidden : []),
    process.execPath,
    join(import.meta.dirname, 'nri-crun-child.ts'),
  ];
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawnSync(program, args, { env, timeout: CHILD_MS, encoding: 'utf8' });
  assert.equal(child.status, 0, `${child.stdout}${child.stderr}`);
  assert.match(child.stdout, /^# pass [1-9]|^ℹ pass [1-9]/m);
});
