import assert from 'node:assert/strict';
import test from 'node:test';
import { readLayout } from './cgroup-layout.ts';
import type { MountEntry } from './kernel.ts';

const mount = (target: string, type: string, options = '', device = target): MountEntry => ({
  id: 1,
  parent: 0,
  device,
  root: '/',
  target,
  type,
  source: type,
  options,
  tags: [],
});
const memory = mount('/sys/fs/cgroup/memory', 'cgroup', 'rw,memory');
const unified = mount('/sys/fs/cgroup/unified', 'cgroup2');

test('cgroup2 alone is version 2, beside v1 controllers it is one more hierarchy', () => {
  assert.equal(readLayout([mount('/sys/fs/cgroup', 'cgroup2')]).version, 2);
  const hybrid = readLayout([memory, unified]);
  assert.equal(hybrid.version, 1);
  assert.deepEqual(
    hybrid.hierarchies.map(({ root }) => root),
    ['/sys/fs/cgroup/memory', '/sys/fs/cgroup/unified'],
  );
});

test('a hierarchy that another mount covers is none', () => {
  const covered = readLayout([memory, unified, mount('/sys/fs/cgroup/unified', 'tmpfs')]);
  assert.deepEqual(
    covered.hierarchies.map(({ root }) => root),
    ['/sys/fs/cgroup/memory'],
  );
});

test('no hierarchy at all is an error', () => {
  assert.throws(() => readLayout([mount('/sys/fs/cgroup', 'tmpfs')]), { code: 'FailedPrecondition' });
});
