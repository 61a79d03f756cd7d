/**
 * Network devices and classes of Intel RDT from CDI specs. The OCI runtimes of Debian do not move network devices: a handler
 * that only reports the features shows what they would get; with CRISP_TEST_RUNTIME, a newer crun or runc, a link is moved.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { endsClean, NODE, POD, refused, TestNode } from '../harness/pods.ts';
import { crunWrapper } from './crun-ground.ts';

const newer = process.env['CRISP_TEST_RUNTIME'];
const FEATURES = JSON.stringify({
  ociVersionMin: '1.0.0',
  ociVersionMax: '1.3.0',
  linux: { netDevices: { enabled: true }, intelRdt: { enabled: true, schemata: true, monitoring: true } },
});
const REPORTS = `#!/bin/sh
case "$*" in
  *features*) echo '${FEATURES}' ;;
  *) exec runc "$@" ;;
esac
`;
const cdi = (directory: string) => join(directory, '../cdi');
const reports = (directory: string) => join(directory, '../reports');
const specOf = (kind: string, containerEdits: object) =>
  JSON.stringify({ cdiVersion: '1.1.0', kind, devices: [{ name: 'a', containerEdits }] });

const node = await TestNode.start('cdi-devices', {
  wrapper: await crunWrapper(),
  prepare: (directory) => {
    mkdirSync(cdi(directory), { recursive: true });
    writeFileSync(reports(directory), REPORTS, { mode: 0o755 });
    writeFileSync(
      join(cdi(directory), 'nic.json'),
      specOf('vendor.example/nic', { netDevices: [{ hostInterfaceName: 'cdi0', name: 'net1' }] }),
    );
    writeFileSync(
      join(cdi(directory), 'rdt.json'),
      specOf('vendor.example/rdt', { intelRdt: { closID: 'gold', l3CacheSchema: 'L3:0=f' } }),
    );
  },
  configure: (directory) =>
    [
      `[cdi]\ndirs = [${JSON.stringify(cdi(directory))}]`,
      `[runtime.handlers.reports]\npath = ${JSON.stringify(reports(directory))}`,
      newer ? `[runtime.handlers.newer]\npath = ${JSON.stringify(newer)}` : '',
    ].join('\n'),
});
const [nic, rdt] = [{ name: 'vendor.example/nic=a' }, { name: 'vendor.example/rdt=a' }];

async function podOf(runtimeHandler: string, network = POD): Promise<string> {
  const { podSandboxId } = await node.client.RunPodSandbox({
    config: node.podConfig({}, { network }),
    runtimeHandler,
  });
  return podSandboxId;
}

test('an OCI runtime that reports to apply them gets network devices and the class of RDT in its spec', async () => {
  const pod = await podOf('reports');
  const containerId = await node.create(pod, { CDIDevices: [nic, rdt] });
  const { info } = await node.client.ContainerStatus({ containerId, verbose: true });
  const { runtimeSpec } = JSON.parse(info['info'] ?? '{}') as { runtimeSpec: { linux: object } };
  assert.partialDeepStrictEqual(runtimeSpec.linux, {
    netDevices: { cdi0: { name: 'net1' } },
    intelRdt: { closID: 'gold', l3CacheSchema: 'L3:0=f' },
  });
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

test('a network device for a pod on the network of the node is refused', async () => {
  const pod = await podOf('reports', NODE);
  await refused(
    node.create(pod, { CDIDevices: [nic] }),
    'FailedPrecondition',
    /nic\.json: network devices cannot be moved/,
  );
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

test('the class of RDT reaches runc, which fails where the node has no resctrl', {
  skip: existsSync('/sys/fs/resctrl') && 'this machine has resctrl: a class of it would be used',
}, async (t) => {
  const pod = await podOf('runc');
  const containerId = await node.create(pod, { CDIDevices: [rdt] });
  await refused(node.client.StartContainer({ containerId }), 'Internal', /rdt/i);
  t.diagnostic('not shown: a container in a class of RDT; this machine has no resctrl');
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

test('a link of the node is moved into the pod, under its name there', {
  skip:
    !newer && 'no OCI runtime here moves network devices: CRISP_TEST_RUNTIME=/path/of/crun-1.22-or-runc-1.4',
}, async () => {
  const links = () => execFileSync('ip', ['-br', 'link'], { encoding: 'utf8' });
  const add = 'link add cdi0 address 02:00:00:00:00:c0 type veth peer name cdi1';
  execFileSync('ip', add.split(' '));
  const pod = await podOf('newer');
  const id = await node.run(pod, { CDIDevices: [nic] });
  const { out, err } = await node.exec(id, ['cat', '/sys/class/net/net1/address']);
  assert.equal(out, '02:00:00:00:00:c0\n', err);
  assert.doesNotMatch(links(), /^cdi0/m);
  await node.client.RemovePodSandbox({ podSandboxId: pod });
  assert.doesNotMatch(links(), /cdi|net1/, 'a link without hardware ends with the namespace');
});

endsClean(node);
