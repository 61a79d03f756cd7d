import assert from 'node:assert/strict';
import { constants } from 'node:os';
import test from 'node:test';
import { refused } from './errno.ts';

test('each refusal of the kernel has the remedy of its own errno', () => {
  const hint = (errno: number | string) => refused('x', errno).hint;
  assert.match(hint('EBUSY'), /in use/);
  assert.match(hint('EINVAL'), /does not accept these arguments/);
  assert.match(hint(constants.errno.EOPNOTSUPP), /does not offer/);
  assert.equal(new Set(['EBUSY', 'EINVAL', 'ENOTSUP', 'EPERM', 'EIO', 'ENOMEM'].map(hint)).size, 6);
  for (const name of Object.keys(constants.errno)) {
    if (['EPERM', 'EACCES'].includes(name)) continue;
    assert.doesNotMatch(hint(name), /permissions/, name);
  }
});
