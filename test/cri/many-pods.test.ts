/** The stats of many pods in one pass of a real daemon, which serves other calls meanwhile. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { endsClean, TestNode } from '../harness/pods.ts';

const PODS = 40;
const PASSES = 15;
const node = await TestNode.start('many-pods');
const pods: string[] = [];
const containers: string[] = [];

test('40 pods with a container each', async () => {
  for (let at = 0; at < PODS; at += 4) {
    const ids = await Promise.all([1, 2, 3, 4].map(() => node.runPod()));
    pods.push(...ids);
    containers.push(...(await Promise.all(ids.map((id) => node.run(id)))));
  }
});

/** Number of calls that are answered, one after another, until `end`. */
async function answeredUntil(end: Promise<unknown>): Promise<number> {
  let ended = false;
  const done = () => {
    ended = true;
  };
  end.then(done, done);
  for (let count = 0; ; count++) {
    await node.client.Version({});
    if (ended) return count;
  }
}

test('each list has all of them, and other calls are answered while it is built', async () => {
  const { client } = node;
  const calls = {
    metrics: async () => {
      const { podMetrics } = await client.ListPodSandboxMetrics({});
      return [
        podMetrics.map(({ podSandboxId }) => podSandboxId),
        podMetrics.flatMap(({ containerMetrics }) => containerMetrics.map(({ containerId }) => containerId)),
      ];
    },
    stats: async () => {
      const { stats } = await client.ListPodSandboxStats({});
      return [
        stats.map(({ attributes }) => attributes?.id),
        stats.flatMap(({ linux }) => linux?.containers.map(({ attributes }) => attributes?.id) ?? []),
      ];
    },
  };
  for (const [name, call] of Object.entries(calls)) {
    const counts: number[] = [];
    for (let pass = 0; pass < PASSES; pass++) {
      const lists = call();
      counts.push(await answeredUntil(lists));
      const [listedPods, listedContainers] = await lists;
      assert.deepEqual(listedPods?.toSorted(), pods.toSorted());
      assert.deepEqual(listedContainers?.toSorted(), containers.toSorted());
    }
    // A daemon that built a list in one turn would answer at most the call that arrived before it.
    const middle = counts.toSorted((a, b) => a - b)[PASSES >> 1] ?? 0;
    assert.ok(middle >= 2, `${name}: answered meanwhile: ${counts}`);
  }
});

endsClean(node);
