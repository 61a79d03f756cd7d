/** What the configuration gives to containers, in real ones. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { endsClean, NODE, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('defaults', {
  configure: () =>
    ['[runtime.handlers.few]', 'path = "runc"', 'privileged_without_host_devices = true'].join('\n'),
});

test('a privileged container of a handler without the devices of the node', async () => {
  const { podSandboxId } = await node.client.RunPodSandbox({
    config: node.podConfig({
      linux: { securityContext: { privileged: true, namespaceOptions: { network: NODE } } },
    }),
    runtimeHandler: 'few',
  });
  const command = [
    'sh',
    '-c',
    'ls /dev/kmsg 2>&1; mknod /tmp/k c 1 11 && head -c 0 /tmp/k 2>&1; grep CapEff /proc/self/status',
  ];
  const { out } = await node.output(podSandboxId, command, { security: { privileged: true } });
  assert.match(out, /No such file/);
  assert.match(out, /not permitted/);
  await node.client.RemovePodSandbox({ podSandboxId });
});

endsClean(node);
