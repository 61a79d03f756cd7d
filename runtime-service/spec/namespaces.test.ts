import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { podOf } from '#test/fixtures/container-config.ts';
import { ociNamespaces, pidMode } from './namespaces.ts';

const shared = podOf({ pid: 'pod', pins: { net: '/n', ipc: '/i', uts: '/u', pid: '/p' } });
const host = podOf({ pid: 'node', network: 'node', ipc: 'node', pins: {} });

test('the pid mode is the wanted one within what the pod has', () => {
  assert.equal(pidMode('container', podOf()), 'container');
  assert.equal(pidMode('target', podOf()), 'target');
  assert.equal(pidMode('pod', shared), 'pod');
  assert.equal(pidMode('container', shared), 'container');
  assert.equal(pidMode('node', host), 'node');
  assert.equal(pidMode('pod', podOf()), 'container', 'nothing is shared');
  assert.equal(pidMode('pod', host), 'node', 'what the pod has is the node’s');
});

test('the node’s pids are for pods that were made with them', () => {
  for (const pod of [podOf(), shared]) {
    assert.throws(
      () => pidMode('node', pod),
      (error) => hasCode(error, 'InvalidArgument'),
    );
  }
});

test('a container has a mount namespace of its own and the pod’s others', () => {
  assert.deepEqual(ociNamespaces(podOf(), 'container', undefined, true), [
    { type: 'mount' },
    { type: 'network', path: '/pins/net' },
    { type: 'ipc', path: '/pins/ipc' },
    { type: 'uts', path: '/pins/uts' },
    { type: 'pid' },
    { type: 'cgroup' },
  ]);
  const pids = (mode: 'pod' | 'target' | 'node', target?: number) =>
    ociNamespaces(shared, mode, target, false).filter(({ type }) => type === 'pid');
  assert.deepEqual(pids('pod'), [{ type: 'pid', path: '/p' }]);
  assert.deepEqual(pids('target', 42), [{ type: 'pid', path: '/proc/42/ns/pid' }]);
  assert.deepEqual(pids('node'), []);
});

test('what the pod shares with the node is not named, a user namespace comes before those that it owns', () => {
  assert.deepEqual(ociNamespaces(host, 'node', undefined, false), [{ type: 'mount' }]);
  const user = podOf({ pins: { net: '/n', user: '/user' } });
  assert.deepEqual(
    ociNamespaces(user, 'container', undefined, false).map(({ type }) => type),
    ['mount', 'user', 'network', 'pid'],
  );
});
