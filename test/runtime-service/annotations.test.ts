/** What allowed annotations change in real pods and containers. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { busy, endsClean, NODE, refused, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('annotations', {
  configure: () =>
    [
      '[runtime.handlers.sized]',
      'path = "runc"',
      'allowed_annotations = ["shm-size.crio.io"]',
      '[container]',
      'allowed_annotations = ["ulimits.noderesource.dev/"]',
    ].join('\n'),
});

const log = () => readFileSync(node.daemon.logFile, 'utf8');

async function podOf(annotations: Record<string, string>, runtimeHandler = ''): Promise<string> {
  const linux = { securityContext: { namespaceOptions: { network: NODE } } };
  const config = node.podConfig({ annotations, linux });
  const { podSandboxId } = await node.client.RunPodSandbox({ config, runtimeHandler });
  return podSandboxId;
}

const shmKib = async (pod: string): Promise<string> =>
  (await node.output(pod, ['sh', '-c', "df -k /dev/shm | awk 'END {print $2}'"])).out;

test('the size of /dev/shm, of a handler that allows it by its other name', async () => {
  const annotations = { 'io.kubernetes.cri-o.ShmSize': '8Mi' };
  assert.equal(await shmKib(await podOf(annotations, 'sized')), '8192');
  assert.equal(await shmKib(await podOf(annotations)), '65536');
  assert.match(log(), /annotation of the pod is ignored/);
  await refused(podOf({ 'shm-size.crio.io': 'big' }, 'sized'), 'InvalidArgument', /shm-size\.crio\.io "big"/);
});

test("limits of a container's processes, also of commands in it", async () => {
  const { metadata } = node.containerConfig();
  const name = metadata?.name ?? '';
  // Not of open files: runc before 1.1.13 raises that of commands to the hard one.
  const value =
    '- {type: msgqueue, soft: 100, hard: 200}\n- {type: core, soft: 0, hard: 18446744073709551615}';
  const pod = await podOf({ [`ulimits.noderesource.dev/container.${name}`]: value });
  const command = ['sh', '-c', "awk '/core|msgqueue/ {print $2, $(NF-2), $(NF-1)}' /proc/self/limits"];
  const limits = 'core 0 unlimited\nmsgqueue 100 200';
  const id = await node.run(pod, { metadata: { name, attempt: 0 }, command: busy });
  assert.equal((await node.exec(id, command)).out, `${limits}\n`);
  await node.remove(id);
  const given = await node.output(pod, command, { metadata: { name, attempt: 1 } });
  assert.equal(given.out, limits);
  assert.notEqual((await node.output(pod, command)).out, limits);
  const bad = await podOf({ 'ulimits.noderesource.dev/container.x': '- {type: nofiles}' });
  await refused(
    node.create(bad, { metadata: { name: 'x', attempt: 0 } }),
    'InvalidArgument',
    /NOFILES|nofiles/,
  );
});

endsClean(node);
