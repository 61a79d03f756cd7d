/** Descriptors that run out: what was made before the failure is closed, what was started is reaped. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

test('nothing is left of what fails for want of a descriptor, however few are free', () => {
  const script = fileURLToPath(new URL('./descriptors-child.ts', import.meta.url));
  const { stdout, stderr, status } = spawnSync(process.execPath, [script, '/nowhere/socket'], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  assert.deepEqual(JSON.parse(stdout), []);
});
