/** What the configuration gives to containers, in real ones. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { busyboxImage } from '../harness/images.ts';
import { endsClean, NODE, refused, TestNode } from '../harness/pods.ts';

const baseFile = (directory: string) => join(directory, '../base.json');
const profileFile = (directory: string) => join(directory, '../seccomp.json');
/** Without mkdir(2): EBADMSG. */
const PROFILE = JSON.stringify({
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 74 }],
});
const BASE = JSON.stringify({
  process: {
    env: ['OF_BASE=yes'],
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: 111, hard: 222 }],
    capabilities: { bounding: ['CAP_MKNOD'] },
  },
  mounts: [{ destination: '/cache', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'size=64k'] }],
});
const node = await TestNode.start('defaults', {
  prepare: (directory) => {
    mkdirSync(directory, { recursive: true });
    writeFileSync(baseFile(directory), BASE, { mode: 0o644 });
    writeFileSync(profileFile(directory), PROFILE);
  },
  configure: (directory) =>
    [
      '[runtime.handlers.based]',
      'path = "runc"',
      `base_runtime_spec = ${JSON.stringify(baseFile(directory))}`,
      '[runtime.handlers.few]',
      'path = "runc"',
      'privileged_without_host_devices = true',
      '[runtime.handlers.any]',
      'path = "runc"',
      'privileged_without_host_devices = true',
      'privileged_without_host_devices_all_devices_allowed = true',
      '[runtime.handlers.own]',
      'path = "runc"',
      'default_capabilities = ["KILL"]',
      'additional_devices = ["/dev/full:/dev/own:rw"]',
      `seccomp_profile = ${JSON.stringify(profileFile(directory))}`,
      '[runtime.handlers.own.rlimits]',
      'nofile = "77:88"',
      '[runtime.handlers.own.default_env]',
      'OF_NODE = "own"',
      'OF_OWN = "own too"',
      '[container]',
      'default_capabilities = ["CHOWN", "KILL"]',
      'allowed_devices = ["/dev/full"]',
      'additional_devices = ["/dev/zero:/dev/more:r"]',
      'device_ownership_from_security_context = true',
      'log_size_max = "32KiB"',
      'absent_mount_sources_to_reject = ["/var/lib/absent-of-crisp"]',
      '[container.default_env]',
      'OF_NODE = "a b"',
      '[container.rlimits]',
      'core = "0:unlimited"',
    ].join('\n'),
});

const { directory } = node.settings;
const pod = await node.runPod();

/** Its /etc/passwd has root alone, its /etc/group root and one more; both with these permissions. */
const withFiles = (mode: number) =>
  busyboxImage({
    layers: [
      {
        entries: [
          { name: 'etc/passwd', content: 'root:x:0:0::/root:/bin/sh\n', mode },
          { name: 'etc/group', content: 'root:x:0:\nseven:x:7:\n', mode },
        ],
      },
    ],
  });

for (const [handler, uses] of [
  ['few', 'none'],
  ['any', 'every device, whose node it makes itself'],
] as const)
  test(`a privileged container of a handler without the devices of the node, which may use ${uses}`, async () => {
    const { podSandboxId } = await node.client.RunPodSandbox({
      config: node.podConfig({
        linux: { securityContext: { privileged: true, namespaceOptions: { network: NODE } } },
      }),
      runtimeHandler: handler,
    });
    const command = [
      'sh',
      '-c',
      'ls /dev/kmsg 2>&1; mknod /tmp/k c 1 11 && head -c 0 /tmp/k 2>&1 && echo used',
    ];
    const { out } = await node.output(podSandboxId, command, { security: { privileged: true } });
    assert.match(out, /No such file/);
    assert.match(out, handler === 'any' ? /\nused$/ : /not permitted/);
    await node.client.RemovePodSandbox({ podSandboxId });
  });

test('capabilities and variables of the configuration, and a device of the user', async () => {
  const command = ['sh', '-c', 'grep CapEff /proc/self/status; echo $OF_NODE; stat -c %u:%g /dev/given'];
  const { out } = await node.output(pod, command);
  assert.match(out, /CapEff:\s0000000000000021\na b$/);
  const devices = [{ hostPath: '/dev/zero', containerPath: '/dev/given', permissions: 'r' }];
  const security = { runAsUser: { value: fromBigInt(1234n) }, runAsGroup: { value: fromBigInt(56n) } };
  assert.match((await node.output(pod, command, { devices, security })).out, /\n1234:56$/);
});

test('a missing source of a mount that is not to be made', async () => {
  const mounts = [{ hostPath: '/var/lib/absent-of-crisp/', containerPath: '/data' }];
  await refused(
    node.create(pod, { mounts }),
    'FailedPrecondition',
    /mount source \/var\/lib\/absent-of-crisp\/ does not exist/,
  );
});

test('the base spec of a handler', async () => {
  const { podSandboxId } = await node.client.RunPodSandbox({
    config: node.podConfig(),
    runtimeHandler: 'based',
  });
  const script =
    'ulimit -Sn; ulimit -Hn; echo $OF_BASE $OF_NODE; grep CapEff /proc/self/status; grep /cache /proc/mounts';
  const { out } = await node.output(podSandboxId, ['sh', '-c', script]);
  assert.match(out, /^111\n222\nyes a b\nCapEff:\s0000000008000000\ntmpfs \/cache tmpfs .*size=64k/);
  await node.client.RemovePodSandbox({ podSandboxId });
});

test('what one handler has for its own: capabilities, variables, rlimits, devices, a seccomp profile', async () => {
  const { podSandboxId } = await node.client.RunPodSandbox({
    config: node.podConfig(),
    runtimeHandler: 'own',
  });
  const script = [
    'ulimit -Sn; ulimit -Hn; echo $OF_NODE, $OF_OWN; grep CapEff /proc/self/status',
    'head -c 1 /dev/own | od -An -tx1; head -c 1 /dev/more | od -An -tx1; mkdir /tmp/x 2>&1',
  ].join('; ');
  const seccomp = { profileType: 0, localhostRef: '' };
  const { out } = await node.output(podSandboxId, ['sh', '-c', `${script}; true`], { security: { seccomp } });
  assert.match(out, /^77\n88\nown, own too\nCapEff:\s0000000000000020\n *00\n *00\n.*mkdir.*Bad message/);
  await node.client.RemovePodSandbox({ podSandboxId });
});

test('a device of an annotation, and one of the configuration', async () => {
  const annotations = { 'io.kubernetes.cri-o.Devices': '/dev/full:/dev/annotated:rw' };
  const { podSandboxId } = await node.client.RunPodSandbox({ config: node.podConfig({ annotations }) });
  const script = 'head -c 2 /dev/annotated | od -An -tx1; head -c 2 /dev/more | od -An -tx1';
  const { out } = await node.output(podSandboxId, ['sh', '-c', script]);
  assert.match(out, /^ *00 00\n *00 00$/);
  await node.client.RemovePodSandbox({ podSandboxId });
  const other = { 'io.kubernetes.cri-o.Devices': '/dev/kmsg' };
  await refused(node.create(pod, { annotations: other }), 'FailedPrecondition', /\/dev\/kmsg is not in/);
});

const unknown = { runAsUser: { value: fromBigInt(4321n) }, runAsGroup: { value: fromBigInt(5n) } };
const entry = ['sh', '-c', 'id -un; tail -n 1 /etc/passwd; wc -l < /etc/passwd; ls -ln /etc/passwd'];

test('a command runs in a container with an unlimited rlimit', async () => {
  const id = await node.run(pod);
  const { out } = await node.exec(id, ['sh', '-c', 'ulimit -Sc; ulimit -Hc']);
  assert.equal(out, '0\nunlimited\n');
  await node.remove(id);
});

test('a log is begun anew at its size, and what is written last is there', async () => {
  const id = await node.run(pod, { command: ['sh', '-c', 'seq 20000; echo end'] });
  await node.exited(id);
  const path = await node.logPath(id);
  assert.ok(statSync(path).size <= 32 << 10, `${statSync(path).size} bytes`);
  const lines = await node.logLines(id);
  assert.deepEqual(
    lines.slice(-2).map(({ text }) => text),
    ['20000', 'end'],
  );
  assert.ok(lines.length > 2);
  await node.remove(id);
});

test('a number that the image has no user for gets an entry in /etc/passwd, once', async () => {
  const before = Number((await node.output(pod, ['sh', '-c', 'wc -l < /etc/passwd'])).out);
  const { out } = await node.output(pod, entry, { security: unknown });
  const [name, line, count, file = ''] = out.split('\n');
  assert.equal(name, '4321');
  assert.equal(line, '4321:x:4321:5:4321 user:/:/sbin/nologin');
  assert.equal(Number(count), before + 1);
  assert.match(file, /^-rw-r--r-- +1 0 +0 /);
});

test('the same under a read-only root', async () => {
  const { out } = await node.output(pod, entry, { security: { ...unknown, readonlyRootfs: true } });
  assert.match(out, /^4321\n4321:x:4321:5:4321 user:\/:\/sbin\/nologin\n/);
  const written = await node.output(pod, ['sh', '-c', 'echo x >> /etc/passwd'], {
    security: { readonlyRootfs: true },
  });
  assert.notEqual(written.code, 0, 'it is read-only');
});

test('a mount of the pod at /etc/passwd is what the container has', async () => {
  const hostPath = join(directory, 'passwd');
  writeFileSync(hostPath, 'mine:x:4321:5::/:\n');
  const mounts = [{ hostPath, containerPath: '/etc/passwd' }];
  assert.match((await node.output(pod, entry, { security: unknown, mounts })).out, /^mine\n.*\n1\n/);
  assert.equal(readFileSync(hostPath, 'utf8'), 'mine:x:4321:5::/:\n');
});

const groupLine = ['sh', '-c', 'id -gn; tail -n 1 /etc/group'];
const withGroup = (value: bigint, more: object = {}) => ({
  security: { ...unknown, runAsGroup: { value: fromBigInt(value) }, ...more },
});

test('a group that the image does not have gets an entry in /etc/group', async () => {
  const image = { image: await node.addImage('groups', withFiles(0o644)) };
  for (const readonlyRootfs of [false, true]) {
    const { out } = await node.output(pod, groupLine, { ...withGroup(56n, { readonlyRootfs }), image });
    assert.equal(out, '56\n56:x:56:');
  }
  assert.equal((await node.output(pod, groupLine, { ...withGroup(7n), image })).out, 'seven\nseven:x:7:');
});

test('files that the user may write are left to the image, which may add an entry itself', async () => {
  const image = { image: await node.addImage('writable', withFiles(0o664)) };
  const script = ['sh', '-c', 'tail -n 1 /etc/passwd; tail -n 1 /etc/group'];
  const { out } = await node.output(pod, script, { ...withGroup(56n), image });
  assert.equal(out, 'root:x:0:0::/root:/bin/sh\nseven:x:7:');
});

endsClean(node);
