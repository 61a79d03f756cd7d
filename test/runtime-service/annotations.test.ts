/** What allowed annotations change in real pods and containers. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { busy, endsClean, NODE, refused, TestNode } from '../harness/pods.ts';

/** A whole block device of this machine. */
const disk = readdirSync('/sys/block').find((name) => existsSync(`/dev/${name}`)) ?? '';
const blockio = (directory: string) => join(directory, '../blockio.yaml');
const BLOCKIO = `
Classes:
  slow:
  - Devices: [/dev/${disk}, /dev/absent]
    ThrottleReadBps: 50M
    ThrottleWriteIOPS: 1k
`;

const node = await TestNode.start('annotations', {
  prepare: (directory) => {
    mkdirSync(directory, { recursive: true });
    writeFileSync(blockio(directory), BLOCKIO, { mode: 0o644 });
  },
  configure: (directory) =>
    [
      '[runtime.handlers.sized]',
      'path = "runc"',
      'allowed_annotations = ["shm-size.crio.io"]',
      '[container]',
      'allowed_annotations = ["ulimits.noderesource.dev/", "blockio.resources.", "rdt.resources.beta.kubernetes.io/pod"]',
      `blockio_config_file = ${JSON.stringify(blockio(directory))}`,
      'rdt_classes = ["gold"]',
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

const BLOCKIO_KEY = 'blockio.resources.beta.kubernetes.io';

test('a class of block IO is in the control files, of one container or of all', {
  skip: disk === '' && 'no block device',
}, async () => {
  const rates = async (id: string): Promise<string> => {
    const { cgroup } = await node.facts(id);
    const [v1, v2] = [`/sys/fs/cgroup/blkio${cgroup}`, `/sys/fs/cgroup${cgroup}/io.max`];
    const files = ['read_bps', 'write_iops'].map((name) => `${v1}/blkio.throttle.${name}_device`);
    return (existsSync(v2) ? [v2] : files).map((file) => readFileSync(file, 'utf8')).join('');
  };
  const { metadata } = node.containerConfig();
  const name = metadata?.name ?? '';
  const pod = await podOf({ [`${BLOCKIO_KEY}/container.${name}`]: 'slow' });
  const id = await node.run(pod, { metadata: { name, attempt: 0 } });
  assert.match(await rates(id), /50000000[\s\S]*1000/);
  assert.doesNotMatch(await rates(await node.run(pod)), /50000000/);
  assert.match(log(), /\/dev\/absent.*no such devices|no such devices.*\/dev\/absent/);
  const all = await podOf({ [`${BLOCKIO_KEY}/pod`]: 'slow' });
  assert.match(await rates(await node.run(all)), /50000000/);
  const wrong = await podOf({ [`${BLOCKIO_KEY}/pod`]: 'fast' });
  await refused(
    node.create(wrong),
    'InvalidArgument',
    /blockio.*\/pod: "fast" is no class of block IO.*slow/,
  );
});

test('a class of RDT is refused by its name where the node has none; one that is not allowed is ignored', async () => {
  const RDT = 'rdt.resources.beta.kubernetes.io';
  const pod = await podOf({ [`${RDT}/pod`]: 'gold' });
  if (!existsSync('/sys/fs/resctrl/schemata'))
    await refused(
      node.create(pod),
      'FailedPrecondition',
      /RDT class gold: \/sys\/fs\/resctrl is not mounted/,
    );
  await refused(
    node.create(await podOf({ [`${RDT}/pod`]: 'tin' })),
    'InvalidArgument',
    /"tin" is no RDT class/,
  );
  const { metadata } = node.containerConfig();
  const ignored = await podOf({ [`${RDT}/container.${metadata?.name}`]: 'tin' });
  await node.run(ignored, { metadata: { name: metadata?.name ?? '', attempt: 0 } });
  assert.match(log(), /annotation of the container is ignored/);
  // It hides none that counts.
  const both = await podOf({ [`${RDT}/container.${metadata?.name}`]: 'gold', [`${RDT}/pod`]: 'tin' });
  await refused(
    node.create(both, { metadata: { name: metadata?.name ?? '', attempt: 0 } }),
    'InvalidArgument',
    /"tin" is no RDT class/,
  );
});

endsClean(node);
