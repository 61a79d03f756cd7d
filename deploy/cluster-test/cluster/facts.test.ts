import assert from 'node:assert/strict';
import test from 'node:test';
import type { V1Node } from '@kubernetes/client-node';
import { hasCode } from '#core/errors.ts';
import { chooseNode, nodeFacts } from './facts.ts';

interface Sketch {
  readonly runtime?: string;
  readonly ready?: boolean;
  readonly os?: string;
  readonly unschedulable?: boolean;
}

const node = (
  name: string,
  { runtime = 'containerd://2.1.0', ready = true, os = 'linux', unschedulable }: Sketch = {},
) =>
  ({
    metadata: { name },
    spec: { ...(unschedulable ? { unschedulable } : {}) },
    status: {
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'Unknown' }],
      nodeInfo: { containerRuntimeVersion: runtime, operatingSystem: os, kubeletVersion: 'v1.36.2' },
    },
  }) as V1Node;

const chosen = (nodes: readonly V1Node[], wanted?: string) => chooseNode(nodes, wanted).metadata?.name;

test('a node of crisp before others; only those that are Ready, schedulable and of Linux', () => {
  assert.equal(chosen([node('a'), node('b', { runtime: 'crisp://0.1.0' })]), 'b');
  assert.equal(
    chosen([
      node('a', { ready: false, runtime: 'crisp://0.1.0' }),
      node('b', { unschedulable: true, runtime: 'crisp://0.1.0' }),
      node('c', { os: 'windows' }),
      node('d'),
    ]),
    'd',
  );
  assert.throws(
    () => chosen([node('a', { ready: false })]),
    (error) => hasCode(error, 'NotFound'),
  );
});

test('the named node, also where it is cordoned; not one that does not exist or is not Ready', () => {
  assert.equal(chosen([node('a'), node('b', { unschedulable: true })], 'b'), 'b');
  assert.throws(
    () => chosen([node('a'), node('b')], 'c'),
    (error) => hasCode(error, 'NotFound') && error.hint.includes('a, b'),
  );
  assert.throws(
    () => chosen([node('a', { ready: false })], 'a'),
    (error) => hasCode(error, 'FailedPrecondition'),
  );
});

test('what an older kubelet does not report is empty, features that are false do not count', () => {
  const older = nodeFacts(node('a'));
  assert.deepEqual([older.handlers, older.features, older.addresses], [[], [], []]);
  const newer = node('a');
  newer.status = {
    ...newer.status,
    addresses: [
      { type: 'Hostname', address: 'a' },
      { type: 'InternalIP', address: '192.0.2.1' },
    ],
    features: { supplementalGroupsPolicy: true },
    runtimeHandlers: [
      { name: '', features: { recursiveReadOnlyMounts: true, userNamespaces: false } },
      { name: 'crun' },
    ],
  };
  const { handlers, features, addresses } = nodeFacts(newer);
  assert.deepEqual(handlers, [
    { name: '', features: ['recursiveReadOnlyMounts'] },
    { name: 'crun', features: [] },
  ]);
  assert.deepEqual([features, addresses], [['supplementalGroupsPolicy'], ['192.0.2.1']]);
});
