/** Section 9 of the kubelet's contract, as far as other suites do not test it: a node without a network, ports. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { cri } from '#api/cri/v1/index.ts';
import { endsClean, NODE, POD, refused, TestNode, until } from '../harness/pods.ts';

const node = await TestNode.start('network', {
  prepare: (directory) => {
    const [plugins, dropIns] = [join(directory, 'plugins'), join(directory, 'crisp.toml.d')];
    for (const path of [plugins, dropIns]) mkdirSync(path, { recursive: true });
    writeFileSync(join(dropIns, '10.toml'), `[cni]\nbin_dirs = ["${plugins}", "/usr/lib/cni"]\n`);
  },
});
const file = join(node.settings.directory, 'cni/net.d/10-crisp.conflist');
const conditions = async () =>
  Object.fromEntries(
    ((await node.client.Status({})).status?.conditions ?? []).map(({ type, status }) => [type, status]),
  );

test('without a CNI configuration: NetworkReady is false, the daemon starts, pods of the node run, others are refused', async () => {
  assert.deepEqual(await conditions(), { RuntimeReady: true, NetworkReady: true });
  renameSync(file, `${file}.away`);
  await until('NetworkReady is false', async () => !(await conditions())['NetworkReady']);
  await node.restart('kill');
  assert.deepEqual(await conditions(), { RuntimeReady: true, NetworkReady: false });
  const pod = await node.runPod({}, { network: NODE });
  assert.equal((await node.output(pod, ['echo', 'runs'])).out, 'runs');
  const config = node.podConfig({}, { network: POD });
  await refused(node.client.RunPodSandbox({ config }), 'Internal', /CNI/);
  assert.equal((await node.client.ListPodSandbox({})).items.length, 1);
  renameSync(`${file}.away`, file);
  await until('NetworkReady is true', async () => (await conditions())['NetworkReady']);
  const { podSandboxId } = await node.client.RunPodSandbox({ config });
  const { status } = await node.client.PodSandboxStatus({ podSandboxId });
  assert.match(status?.network?.ip ?? '', /^10\.234\./);
});

test('a misspelt plugin: the error names the stage of the network, it is logged once, no pod remains', async () => {
  const right = readFileSync(file, 'utf8');
  writeFileSync(file, right.replace('"bridge"', '"brigde"'));
  const config = node.podConfig({}, { network: POD });
  const before = (await node.client.ListPodSandbox({})).items.length;
  await refused(
    node.client.RunPodSandbox({ config }),
    'Internal',
    /brigde.*\(RunPodSandbox, stage network, after/,
  );
  const warnings = await until('it is logged', () => {
    const lines = readFileSync(node.daemon.logFile, 'utf8').split('\n');
    const reported = lines.filter(
      (line) => line.includes('brigde') && /"level":"?(warn|error|40|50)/.test(line),
    );
    return reported.some((line) => line.includes('"failed"')) ? reported : undefined;
  });
  assert.equal(warnings.length, 1, warnings.join('\n'));
  assert.equal((await node.client.ListPodSandbox({})).items.length, before);
  writeFileSync(file, right);
  await node.client.RunPodSandbox({ config });
});

test('a plugin of CNI 1.1 that is not ready: NetworkReady is false with its reason, across a restart, until it is', async () => {
  const { directory } = node.settings;
  const [right, starting] = [readFileSync(file, 'utf8'), join(directory, 'starting')];
  const error = '{"cniVersion":"1.1.0","code":50,"msg":"no subnet for this node yet"}';
  writeFileSync(
    join(directory, 'plugins/agent'),
    `#!/bin/sh\nif [ $CNI_COMMAND = STATUS ] && [ -e ${starting} ]; then echo '${error}'; exit 1; fi\n`,
    { mode: 0o755 },
  );
  writeFileSync(starting, '');
  writeFileSync(file, JSON.stringify({ cniVersion: '1.1.0', name: 'agent', plugins: [{ type: 'agent' }] }));
  const network = async () =>
    (await node.client.Status({})).status?.conditions.find(({ type }) => type === 'NetworkReady');
  await until('NetworkReady is false', async () => !(await conditions())['NetworkReady']);
  for (const restarted of [false, true]) {
    if (restarted) await node.restart('kill');
    const condition = await network();
    assert.equal(condition?.reason, 'NetworkPluginNotReady');
    assert.match(
      condition?.message ?? '',
      /CNI plugin agent of network agent .*no subnet for this node yet \(code 50\)/,
    );
  }
  rmSync(starting);
  await until('NetworkReady is true', async () => (await conditions())['NetworkReady']);
  await node.restart('kill');
  assert.equal((await network())?.status, true, 'a restart is not seen as a lack of the network');
  writeFileSync(file, right);
});

const serving = ['sh', '-c', 'while :; do echo served | nc -l -p 8080; done'];
const read = (port: number) =>
  new Promise<string>((resolve) => {
    let text = '';
    const socket = connect(port, '127.0.0.1');
    socket.on('data', (bytes) => {
      text += bytes;
    });
    socket.on('error', () => resolve(''));
    socket.on('close', () => resolve(text));
  });

test('a host port reaches the pod from 127.0.0.1, one number for two protocols; host port 0 is none', async () => {
  const { TCP, UDP } = cri.Protocol;
  const portMappings = [
    { protocol: TCP, containerPort: 8080, hostPort: 12_800 },
    { protocol: UDP, containerPort: 8080, hostPort: 12_800 },
    { protocol: TCP, containerPort: 8081, hostPort: 0 },
  ];
  const pod = await node.runPod({ portMappings }, { network: POD });
  await node.run(pod, { command: serving });
  await until('the port serves', async () => (await read(12_800)) === 'served\n');
  await node.client.StopPodSandbox({ podSandboxId: pod });
  assert.equal(await read(12_800), '', 'the port is free again');
  const run = (hostPort: number) =>
    node.runPod({ portMappings: [{ protocol: TCP, containerPort: 1, hostPort }] }, { network: POD });
  await refused(run(65_536), 'InvalidArgument', /port_mappings\[0\]\.host_port/);
});

endsClean(node);
