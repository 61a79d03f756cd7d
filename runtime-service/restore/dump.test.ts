import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import type { OciSpec } from '../spec/oci.ts';
import { checkCompatible, deletedFiles, parseDump } from './dump.ts';

const spec = {
  process: { terminal: false },
  mounts: [
    { destination: '/proc', type: 'proc' },
    { destination: '/data', type: 'bind' },
  ],
  linux: { namespaces: [{ type: 'mount' }, { type: 'pid' }, { type: 'network', path: '/run/net' }] },
} as unknown as OciSpec;
const dump = parseDump(
  '{"rootfsImageName": "b", "rootfsImageRef": "a", "rootfsImage": 7}',
  JSON.stringify(spec),
);

test('the contents of a dump, the image by its id first', () => {
  assert.deepEqual(dump.images, ['a', 'b']);
  assert.deepEqual(dump.binds, ['/data']);
  assert.equal(dump.namespaces.get('network'), 'joined');
  const nothing = parseDump('{}', '{"linux": [], "mounts": {"a": 1}, "process": "x"}');
  assert.deepEqual([nothing.images, nothing.binds, nothing.namespaces.size], [[], [], 0]);
});

test('alike passes; a pod with a user namespace, or another network, does not', () => {
  checkCompatible(dump, spec);
  const others = [{ type: 'user', path: '/run/user' }, { type: 'network' }];
  for (const other of others) {
    const namespaces = [...spec.linux.namespaces.filter(({ type }) => type !== other.type), other];
    assert.throws(
      () => checkCompatible(dump, { ...spec, linux: { ...spec.linux, namespaces } }),
      (error) => hasCode(error, 'FailedPrecondition'),
    );
  }
});

test('deleted paths end in a name', () => {
  assert.deepEqual(deletedFiles(undefined), []);
  assert.deepEqual(deletedFiles('null'), []);
  assert.deepEqual(deletedFiles('["/etc/x", "y/z"]'), ['//etc/x', '/y/z']);
  for (const bad of ['[1]', '["/"]', '["a/.."]', '["a/"]', '[".."]', '[""]', '"x"', 'x'])
    assert.throws(
      () => deletedFiles(bad),
      (error) => hasCode(error, 'DataLoss'),
    );
});
