/** Section 8 of the kubelet's contract, as far as other suites do not test it: for what URLs are returned. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { endsClean, refused, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('urls');
const pod = await node.runPod();
const running = await node.run(pod);

test('URLs are absolute, on an address of the node, and unique', async () => {
  const { client } = node;
  const execUrl = () => client.Exec({ containerId: running, cmd: ['true'], stdout: true });
  const urls = [await execUrl(), await execUrl(), await client.PortForward({ podSandboxId: pod })];
  for (const { url } of urls) {
    const { protocol, hostname, port, pathname } = new URL(url);
    assert.deepEqual([protocol, hostname], ['http:', '127.0.0.1']);
    assert.ok(Number(port) > 0 && pathname.length > 10, url);
  }
  assert.equal(new Set(urls.map(({ url }) => url)).size, 3);
});

test('sessions with what is not running, or not ready, are refused', async () => {
  const other = await node.runPod();
  const exited = await node.run(other, { command: ['true'] });
  await node.exited(exited);
  const { client } = node;
  const cmd = ['true'];
  const exec = (containerId: string) => client.Exec({ containerId, cmd, stdout: true });
  await refused(exec(exited), 'FailedPrecondition', /not running|exited/);
  await refused(client.Attach({ containerId: exited, stdout: true }), 'FailedPrecondition');
  await refused(client.ExecSync({ containerId: exited, cmd, timeout: fromBigInt(5n) }), 'FailedPrecondition');
  await refused(exec('e'.repeat(64)), 'NotFound');
  await refused(client.Attach({ containerId: 'e'.repeat(64), stdout: true }), 'NotFound');
  await refused(client.PortForward({ podSandboxId: 'e'.repeat(64), port: [80] }), 'NotFound');
  await client.StopPodSandbox({ podSandboxId: other });
  await refused(client.PortForward({ podSandboxId: other, port: [80] }), 'FailedPrecondition', /not ready/);
  await refused(client.Exec({ containerId: running, cmd: [], stdout: true }), 'InvalidArgument', /cmd/);
});

endsClean(node);
