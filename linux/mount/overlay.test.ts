import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { quoted } from './overlay.ts';

test('a label with categories stays one option in the one string of mount(2), as kernels before 6.7 get it', () => {
  const label = 'context=system_u:object_r:container_file_t:s0:c12,c345';
  assert.equal(quoted(label), 'context="system_u:object_r:container_file_t:s0:c12,c345"');
  for (const plain of ['context=system_u:object_r:container_file_t:s0', 'volatile', 'a=b=c'])
    assert.equal(quoted(plain), plain);
  assert.throws(
    () => quoted('context=a",ro,b="c'),
    (error) => hasCode(error, 'InvalidArgument'),
  );
});
