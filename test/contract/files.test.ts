/** Section 3 of the kubelet's contract, as far as other suites do not test it: host name, resolv.conf, the termination message. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import type { cri } from '#api/cri/v1/index.ts';
import { endsClean, NODE, POD, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('files');

/** The output of a container in a new pod. */
async function inPod(
  changes: cri.PodSandboxConfigInit,
  network: typeof POD | typeof NODE,
  script: string,
  security: cri.LinuxContainerSecurityContextInit = {},
): Promise<string> {
  const pod = await node.runPod(changes, { network });
  const { out, err } = await node.output(pod, ['sh', '-c', script], { security });
  return `${out}${err}`;
}

test('the host name of the config is that of the pod and is in /etc/hostname', async () => {
  const script = 'hostname; uname -n; cat /etc/hostname; wc -l </etc/hostname';
  assert.equal(await inPod({ hostname: 'given' }, POD, script), 'given\ngiven\ngiven\n1');
  // What a kubelet without a cluster domain sends for setHostnameAsFQDN.
  const dotted = 'pod-1.sub.ns.svc.';
  assert.equal(await inPod({ hostname: dotted }, POD, script), `${dotted}\n${dotted}\n${dotted}\n1`);
  assert.equal(await inPod({ hostname: '' }, NODE, 'hostname'), hostname());
});

test('resolv.conf: the given entries in order, empty for an empty message, the node’s for none', async () => {
  const dnsConfig = {
    servers: ['10.0.0.1', 'fd00::1'],
    searches: ['a.test', 'b.test'],
    options: ['ndots:5', 'x'],
  };
  const read = 'cat /etc/resolv.conf';
  assert.equal(
    await inPod({ dnsConfig }, POD, read),
    'search a.test b.test\nnameserver 10.0.0.1\nnameserver fd00::1\noptions ndots:5 x',
  );
  assert.equal(await inPod({ dnsConfig: {} }, POD, `${read}; ls /etc/resolv.conf`), '/etc/resolv.conf');
  const own = existsSync('/etc/resolv.conf') ? readFileSync('/etc/resolv.conf', 'utf8') : '';
  assert.equal(await inPod({}, NODE, read), own.trimEnd());
});

test('the files of the pod are writable, except in a container with a read-only root', async () => {
  const script = 'echo "# more" >>/etc/resolv.conf && echo written';
  assert.equal(await inPod({ dnsConfig: {} }, POD, script), 'written');
  assert.match(await inPod({ dnsConfig: {} }, POD, script, { readonlyRootfs: true }), /[Rr]ead-only/);
});

test('a termination message is in the file that the status names as the source of its mount', async () => {
  const hostPath = join(node.directory, 'termination');
  writeFileSync(hostPath, '');
  const mount = { containerPath: '/dev/termination-log', hostPath };
  const pod = await node.runPod();
  const id = await node.run(pod, {
    command: ['sh', '-c', 'echo why >/dev/termination-log'],
    mounts: [mount],
  });
  const { mounts } = await node.exited(id);
  assert.deepEqual(
    mounts.map((echoed) => [echoed.containerPath, echoed.hostPath]),
    [['/dev/termination-log', hostPath]],
  );
  assert.equal(readFileSync(hostPath, 'utf8'), 'why\n');
});

endsClean(node);
