/**
 * The same with crun, where it works on this machine: on cgroup v2, or on v1 with the cgroup2 tree out of its sight, for
 * which the daemon is in a mount namespace of its own.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import test from 'node:test';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import {
  busy,
  EXITED,
  endsClean,
  POD,
  polite,
  processesWith,
  RUNNING,
  refused,
  TestNode,
  until,
} from '../harness/pods.ts';

const hidden = 'umount -l /sys/fs/cgroup/unified && exec "$@"';
const hybrid = existsSync('/sys/fs/cgroup/unified/cgroup.controllers');
const node = await TestNode.start('crun', {
  runtime: 'crun',
  ...(hybrid ? { wrapper: ['unshare', '-m', '--propagation', 'private', 'sh', '-c', hidden, 'sh'] } : {}),
});
const pod = await node.runPod();
const shared = await node.runPod({}, { pid: POD, network: POD });
const MIB = 1 << 20;

test('crun is the default here, and runs the container', async () => {
  assert.match(readFileSync(node.daemon.logFile, 'utf8'), /"default":"crun"/);
  const { code, out, err } = await node.output(pod, ['sh', '-c', 'echo out; echo err >&2; exit 3']);
  assert.deepEqual([code, out, err], [3, 'out', 'err']);
});

test('stop, kill, start error', async () => {
  const id = await node.run(pod, { command: polite });
  await until('it runs', async () => (await node.exec(id, ['true'])).code === 0);
  await node.stop(id, 60);
  assert.equal((await node.status(id)).exitCode, 0);
  const other = await node.run(pod);
  await node.stop(other, 0);
  assert.deepEqual([(await node.status(other)).state, (await node.status(other)).exitCode], [EXITED, 137]);
  const missing = await node.create(pod, { command: ['/no/such'] });
  await refused(node.client.StartContainer({ containerId: missing }), 'Internal', /no.such/);
  assert.equal((await node.status(missing)).reason, 'StartError');
  await Promise.all([id, other, missing].map((container) => node.remove(container)));
});

test("an exec'd process is in the container's cgroup in every hierarchy, and has its limits", async () => {
  const id = await node.run(pod, { resources: { memoryLimitInBytes: fromBigInt(BigInt(64 * MIB)) } });
  const { cgroup, pid } = await node.facts(id);
  const lines = (await node.exec(id, ['cat', '/proc/self/cgroup'])).out.trim().split('\n');
  const init = readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n');
  const stray = init
    .filter((line) => line.includes(cgroup))
    .map((line) => line.split(':')[1])
    .filter(
      (controllers) => !lines.some((line) => line.split(':')[1] === controllers && line.includes(cgroup)),
    );
  assert.deepEqual(stray, [], lines.join('\n'));
  const limits = (await node.exec(id, ['cat', '/proc/self/limits'])).out;
  assert.equal(
    /Max open files\s+(\d+\s+\d+)/.exec(limits)?.[1],
    /Max open files\s+(\d+\s+\d+)/.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1],
  );
  await node.remove(id);
});

test('exec: results, output, errors, and the deadline that leaves no process', async () => {
  const id = await node.run(pod);
  assert.deepEqual(await node.exec(id, ['sh', '-c', 'echo out; echo "exec failed: no" >&2; exit 1']), {
    code: 1,
    out: 'out\n',
    err: 'exec failed: no\n',
  });
  assert.equal((await node.exec(id, ['sh', '-c', 'kill -TERM $$'])).code, 143);
  await refused(node.exec(id, ['/no/such']), 'Internal', /no.such/);
  await refused(node.exec(id, ['/etc/passwd']), 'Internal');
  await refused(
    node.exec(
      id,
      [
        'sh',
        '-c',
        `setsid sleep 6543${process.pid} & (sleep 6543${process.pid} &); sleep 6543${process.pid}`,
      ],
      1,
    ),
    'DeadlineExceeded',
  );
  assert.deepEqual(processesWith(`sleep 6543${process.pid}`), []);
  assert.equal((await node.status(id)).state, RUNNING);
  assert.deepEqual(
    node.groups().filter((group) => /\/exec-[0-9a-f]{12}$/.test(group)),
    [],
  );
  await node.remove(id);
});

test('memory: the first process and an exec beyond the limit', async () => {
  const resources = {
    memoryLimitInBytes: fromBigInt(BigInt(15 * MIB)),
    memorySwapLimitInBytes: fromBigInt(BigInt(15 * MIB)),
  };
  const eater = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=20M'];
  const id = await node.run(pod, { command: eater, resources });
  assert.deepEqual([(await node.exited(id)).exitCode, (await node.status(id)).reason], [137, 'OOMKilled']);
  const other = await node.run(pod, { command: busy, resources });
  assert.equal((await node.exec(other, eater)).code, 137);
  await Promise.all([node.remove(id), node.remove(other)]);
});

test('seccomp, capabilities and users as with runc', async () => {
  const { RuntimeDefault } = cri.SecurityProfile.ProfileType;
  const security = {
    seccomp: { profileType: RuntimeDefault },
    capabilities: { dropCapabilities: ['ALL'], addCapabilities: ['NET_ADMIN'] },
    runAsUser: { value: fromBigInt(7n) },
    noNewPrivs: true,
  } as cri.LinuxContainerSecurityContextInit;
  const id = await node.run(pod, { security });
  const { pid } = await node.facts(id);
  // The start returns when crun has been released; the filter is set right before the exec of the program.
  await until('the program is executed', () => readlinkSync(`/proc/${pid}/exe`).endsWith('/busybox'));
  for (const text of [
    readFileSync(`/proc/${pid}/status`, 'utf8'),
    (await node.exec(id, ['cat', '/proc/self/status'])).out,
  ]) {
    for (const pattern of [/Seccomp:\t2/, /CapBnd:\t0000000000001000/, /NoNewPrivs:\t1/, /Uid:\t7\t7/])
      assert.match(text, pattern);
  }
  await node.remove(id);
});

test('a shared pid namespace: the rest of an ended container is killed', async () => {
  const security = { namespaceOptions: { pid: POD } };
  const script = `(setsid sleep 6544${process.pid} &); until [ -e /go ]; do sleep 0.05; done; exit 4`;
  const id = await node.run(shared, { security, command: ['sh', '-c', script] });
  await until('the child runs', () => processesWith(`sleep 6544${process.pid}`).length > 1);
  assert.equal((await node.exec(id, ['touch', '/go'])).code, 0);
  assert.equal((await node.exited(id)).exitCode, 4);
  assert.deepEqual(processesWith(`sleep 6544${process.pid}`), []);
  await node.remove(id);
});

endsClean(node);
