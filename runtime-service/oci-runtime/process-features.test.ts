import assert from 'node:assert/strict';
import test from 'node:test';
import { processFeatures } from './process-features.ts';

test('settings of a process are known from the version, to the patch level', () => {
  const of = (line: string) => {
    const { scheduler, ioPriority, memoryPolicy } = processFeatures(line);
    return [scheduler, ioPriority, memoryPolicy];
  };
  assert.deepEqual(of('crun version 1.8.1'), [false, false, false]);
  assert.deepEqual(of('crun version 1.8.5'), [true, false, false]);
  assert.deepEqual(of('crun version 1.8.6'), [true, true, false]);
  assert.deepEqual(of('crun version 1.24'), [true, true, true]);
  assert.deepEqual(of('crun version 2.0'), [true, true, true]);
  assert.deepEqual(of('runc version 1.1.5+ds1'), [false, false, false]);
  assert.deepEqual(of('runc version 1.2.0-rc.1'), [true, true, false]);
  assert.deepEqual(of('runc version 1.4.1'), [true, true, true]);
  assert.deepEqual(of('kata-runtime 3'), [false, false, false]);
});
