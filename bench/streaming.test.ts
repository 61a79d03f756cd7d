import assert from 'node:assert/strict';
import test from 'node:test';
import { networkOf } from './streaming.ts';

test('the network of a pod is that of its process, or of the path in its specification', () => {
  const namespaces = [
    { type: 'ipc', path: '/run/ipc/1' },
    { type: 'network', path: '/run/net/1' },
  ];
  const info = (more: object) => JSON.stringify({ runtimeSpec: { linux: { namespaces } }, ...more });
  assert.deepEqual(networkOf(info({ pid: 42 })), ['-t', '42', '-n']);
  assert.deepEqual(networkOf(info({})), ['--net=/run/net/1']);
  assert.deepEqual(networkOf(info({ pid: 0 })), ['--net=/run/net/1']);
  assert.throws(() => networkOf('{}'), /neither a process nor a network/);
});
