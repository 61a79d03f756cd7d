/** What the node reports of itself and its runtime. */
import assert from 'node:assert/strict';
import type { V1Node } from '@kubernetes/client-node';
import type { Case } from '../case.ts';
import { since } from '../needs.ts';
import type { Trial } from '../trial.ts';

const PRESSURES = ['MemoryPressure', 'DiskPressure', 'PIDPressure'];

const nodeOf = async (trial: Trial): Promise<V1Node> =>
  await trial.cluster.rest.json<V1Node>('GET', `/api/v1/nodes/${trial.facts.node.name}`, {
    signal: trial.signal,
  });

async function conditions(trial: Trial): Promise<void> {
  const { status } = await nodeOf(trial);
  const state = (type: string) => status?.conditions?.find((entry) => entry.type === type);
  const ready = state('Ready');
  // The kubelet joins the runtime's own conditions (RuntimeReady, NetworkReady) into this one.
  assert.equal(ready?.status, 'True', `Ready: ${ready?.reason}: ${ready?.message}`);
  for (const type of PRESSURES)
    assert.equal(state(type)?.status, 'False', `${type}: ${state(type)?.message}`);
}

async function version(trial: Trial): Promise<void> {
  const { nodeInfo } = (await nodeOf(trial)).status ?? {};
  assert.match(nodeInfo?.containerRuntimeVersion ?? '', /^[a-z0-9.-]+:\/\/\d+\.\S+$/);
  assert.match(nodeInfo?.kubeletVersion ?? '', /^v1\.\d+/);
}

async function handlers(trial: Trial): Promise<void> {
  const { handlers: reported } = trial.facts.node;
  const names = reported.map(({ name }) => name);
  assert.ok(names.includes(''), `no default handler among: ${names.map((name) => `'${name}'`).join(', ')}`);
  assert.equal(new Set(names).size, names.length, 'a handler is reported twice');
}

async function images(trial: Trial): Promise<void> {
  await trial.output('true');
  const last = trial.cluster.image.replace(/^.*\//, '');
  // The kubelet reports its images every few minutes at most, the fifty largest.
  const { status } = await nodeOf(trial);
  for (const { names, sizeBytes } of status?.images ?? []) {
    assert.ok((names ?? []).length > 0, 'an image without a name');
    assert.ok((sizeBytes ?? 0) > 0, `${names?.[0]} (asked for ${last}) has no size`);
  }
}

export const NODE_CASES: readonly Case[] = [
  { name: 'node/conditions', about: 'the node is Ready and without pressure', run: conditions },
  { name: 'node/runtime-version', about: 'the runtime has a name and a version', run: version },
  {
    name: 'node/handlers',
    about: "the runtime's handlers and their features are reported, the default one among them",
    needs: [since(31, "report of a runtime's handlers")],
    run: handlers,
  },
  { name: 'node/images', about: 'the images that the node reports have names and sizes', run: images },
];
