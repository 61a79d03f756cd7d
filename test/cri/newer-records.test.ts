/** A downgrade with pods on the node: what the newer crisp has recorded runs on unlisted, and the node gets no doubles of it. */
import assert from 'node:assert/strict';
import { globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { endsClean, RUNNING, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('newer');
const { directory } = node.settings;

test('pods and containers of a newer version: the node is not Ready, says why, and is again with that version', async () => {
  const pod = await node.runPod();
  const container = await node.run(pod);
  const texts = new Map<string, string>();
  await node.restart('stop', async () => {
    for (const path of globSync(join(directory, 'root/{sandboxes,containers}/*/record.json'))) {
      const text = readFileSync(path, 'utf8');
      texts.set(path, text);
      writeFileSync(path, text.replace(/"version":\d+/, '"version":999'));
    }
    rmSync(join(directory, 'state/records'), { recursive: true });
  });
  assert.equal(texts.size, 2);
  const { status } = await node.client.Status({});
  const condition = status?.conditions.find(({ type }) => type === 'RuntimeReady');
  assert.deepEqual([condition?.status, condition?.reason], [false, 'NewerRecords']);
  assert.match(
    condition?.message ?? '',
    /recorded 1 pod and 1 container, .*unlisted; start the newer crisp, or drain/,
  );
  assert.deepEqual((await node.client.ListPodSandbox({})).items, []);
  const log = readFileSync(node.daemon.logFile, 'utf8').split('\n');
  for (const [id, kind] of [
    [pod, 'sandbox'],
    [container, 'container'],
  ] as const)
    assert.ok(
      log.some(
        (line) =>
          line.includes(`"${kind}":"${id}"`) && /version 999.*"hint":"start the newer crisp/.test(line),
      ),
      kind,
    );
  await node.restart('stop', async () => {
    for (const [path, text] of texts) writeFileSync(path, text);
  });
  assert.equal((await node.status(container)).state, RUNNING);
  const after = await node.client.Status({});
  assert.ok(after.status?.conditions.every(({ status: is }) => is));
});

endsClean(node);
