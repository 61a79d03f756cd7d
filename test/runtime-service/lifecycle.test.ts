/** The life of containers through the public socket: states, times, exit codes, reasons, names, removal. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import {
  busy,
  CREATED,
  EXITED,
  endsClean,
  nanoseconds,
  polite,
  processesWith,
  RUNNING,
  refused,
  TestNode,
  until,
} from '../harness/pods.ts';

const node = await TestNode.start('life');
const pod = await node.runPod();
const now = () => BigInt(Date.now()) * 1_000_000n;
const SECOND = 1_000_000_000n;

test('a container changes from CREATED over RUNNING to EXITED, with times in nanoseconds', async () => {
  const began = now();
  const id = await node.create(pod, { command: ['sh', '-c', 'sleep 0.2'] });
  const created = await node.status(id);
  assert.match(id, /^[0-9a-f]{64}$/);
  assert.equal(created.state, CREATED);
  assert.deepEqual([nanoseconds(created.startedAt), nanoseconds(created.finishedAt)], [0n, 0n]);
  const createdAt = nanoseconds(created.createdAt);
  assert.ok(createdAt >= began && createdAt <= now());
  assert.deepEqual(processesWith(id), [], 'CreateContainer makes no process');

  await node.client.StartContainer({ containerId: id });
  const ended = await node.exited(id);
  const [startedAt, finishedAt] = [nanoseconds(ended.startedAt), nanoseconds(ended.finishedAt)];
  assert.equal(nanoseconds(ended.createdAt), createdAt);
  assert.ok(startedAt >= createdAt, 'started before it was created');
  assert.ok(finishedAt > startedAt && finishedAt <= now() + SECOND / 100n);
  assert.deepEqual([ended.reason, ended.exitCode, ended.state], ['Completed', 0, EXITED]);
  await node.remove(id);
  await refused(node.status(id), 'NotFound');
});

test('the status has what was requested, and the image', async () => {
  const config = node.containerConfig({
    labels: { constructor: 'x', ['__proto__']: 'y', app: 'web' },
    annotations: { 'io.kubernetes.container.hash': 'abc' },
  });
  const { containerId } = await node.client.CreateContainer({ podSandboxId: pod, config, sandboxConfig: {} });
  const status = await node.status(containerId);
  assert.deepEqual([status.metadata?.name, status.metadata?.attempt], [config.metadata?.name, 0]);
  assert.deepEqual(Object.entries(status.labels).sort(), Object.entries(config.labels ?? {}).sort());
  assert.deepEqual(Object.entries(status.annotations), Object.entries(config.annotations ?? {}));
  assert.deepEqual(
    [status.imageId, status.image?.image],
    [node.image, `${node.registry.host}/busybox:latest`],
  );
  assert.match(status.imageRef, /^127\.0\.0\.1:\d+\/busybox@sha256:[0-9a-f]{64}$/);
  await node.remove(containerId);
});

for (const [script, code, reason] of [
  ['exit 0', 0, 'Completed'],
  ['exit 3', 3, 'Error'],
  ['exit 255', 255, 'Error'],
  ['kill -TERM $$', 143, 'Error'],
  ['kill -KILL $$', 137, 'Error'],
  ['kill -SEGV $$', 139, 'Error'],
] as const) {
  test(`sh -c "${script}" ends with ${code} and ${reason}`, async () => {
    // A pid namespace's first process is shielded from its own signals: the shell is its child.
    const id = await node.run(pod, { command: ['sh', '-c', `sh -c '${script}'; exit $?`] });
    const { exitCode, reason: reported } = await node.exited(id);
    assert.deepEqual([exitCode, reported], [code, reason]);
    await node.remove(id);
  });
}

test('a container killed from outside ends with 128 + signal', async () => {
  const id = await node.run(pod);
  process.kill((await node.facts(id)).pid, 'SIGKILL');
  const { exitCode, reason } = await node.exited(id);
  assert.deepEqual([exitCode, reason], [137, 'Error']);
  await node.remove(id);
});

for (const [name, command] of [
  ['missing', ['/no/such/program']],
  ['not executable', ['/etc/passwd']],
  ['a directory', ['/etc']],
  ['not in PATH', ['nosuchprogram']],
] as const) {
  test(`a program that is ${name}: StartContainer fails, EXITED 128 StartError, and nothing runs`, async () => {
    const id = await node.create(pod, { command: [...command] });
    await refused(
      node.client.StartContainer({ containerId: id }),
      'Internal',
      new RegExp(command[0].replaceAll('/', '.')),
    );
    const { state, exitCode, reason, message, finishedAt } = await node.status(id);
    assert.deepEqual([state, exitCode, reason], [EXITED, 128, 'StartError']);
    assert.ok(message !== '' && nanoseconds(finishedAt) > 0n);
    assert.deepEqual(processesWith(id), []);
    assert.deepEqual(
      node.groups().filter((group) => group.includes(id)),
      [],
    );
    await refused(node.client.StartContainer({ containerId: id }), 'FailedPrecondition');
    await node.remove(id);
  });
}

test('StartContainer of a running, an exited and an unknown container is refused', async () => {
  const id = await node.run(pod, { command: polite });
  await refused(node.client.StartContainer({ containerId: id }), 'FailedPrecondition', /running/);
  await node.stop(id);
  await refused(node.client.StartContainer({ containerId: id }), 'FailedPrecondition', /exited/);
  await node.remove(id);
  await refused(node.client.StartContainer({ containerId: id }), 'NotFound');
  await refused(node.client.StartContainer({ containerId: '' }), 'NotFound');
});

test('a retry of CreateContainer gets the id that is there; another config is AlreadyExists', async () => {
  const config = node.containerConfig();
  const create = (changes = {}) =>
    node.client.CreateContainer({ podSandboxId: pod, config: { ...config, ...changes }, sandboxConfig: {} });
  const answers = await Promise.all(Array.from({ length: 8 }, () => create()));
  const ids = [...new Set(answers.map(({ containerId }) => containerId))];
  assert.equal(ids.length, 1);
  const [id = ''] = ids;
  assert.equal((await create()).containerId, id);
  await refused(create({ command: ['true'] }), 'AlreadyExists', new RegExp(id));
  const { containers } = await node.client.ListContainers({ filter: { podSandboxId: pod } });
  assert.equal(containers.filter(({ metadata }) => metadata?.name === config.metadata?.name).length, 1);

  await node.client.StartContainer({ containerId: id });
  await refused(create(), 'AlreadyExists', /running/);
  await node.remove(id);
  const { containerId: next } = await create({ command: ['true'] });
  assert.notEqual(next, id);
  await node.remove(next);
});

test('8 parallel StartContainer start one process', async () => {
  const id = await node.create(pod);
  await Promise.all(Array.from({ length: 8 }, () => node.client.StartContainer({ containerId: id })));
  assert.equal((await node.status(id)).state, RUNNING);
  assert.equal(processesWith(id).filter((line) => line.includes('conmon')).length, 1);
  await node.remove(id);
});

test('RemoveContainer ends a running one, frees its name and keeps its log', async () => {
  const id = await node.run(pod, { command: ['sh', '-c', 'echo said; sleep 1000'] });
  const { pid } = await node.facts(id);
  const log = await node.logPath(id);
  await until('the log has its line', async () => (await node.logLines(id)).length > 0);
  await Promise.all([node.remove(id), node.remove(id)]);
  assert.ok(!existsSync(`/proc/${pid}/ns`));
  await until('its effects are undone after the reply', () => processesWith(id).length === 0);
  assert.ok(existsSync(log));
  await node.remove(id);
  await node.remove('0'.repeat(64));
  await node.remove('');
});

test('RemoveContainer while the container is being started', async () => {
  for (let round = 0; round < 3; round++) {
    const id = await node.create(pod);
    const start = node.client.StartContainer({ containerId: id }).catch(() => {});
    await node.remove(id);
    await start;
    await refused(node.status(id), 'NotFound');
    await until('no process is left', () => processesWith(id).length === 0);
  }
});

test('a client that cancels a start or a creation leaves nothing incomplete', async () => {
  const before = node.leftovers();
  for (const timeoutMs of [1, 5, 15, 30]) {
    const config = node.containerConfig();
    const request = { podSandboxId: pod, config, sandboxConfig: {} };
    await node.client.CreateContainer(request, { timeoutMs }).catch(() => {});
    const { containerId } = await node.client.CreateContainer(request);
    await node.client.StartContainer({ containerId }, { timeoutMs }).catch(() => {});
    const { state, exitCode } = await node.status(containerId);
    assert.ok([CREATED, RUNNING].includes(state) || exitCode === 128, `${state}, ${exitCode}`);
    await node.remove(containerId);
  }
  await until('nothing is left', () => node.leftovers().every((leftover) => before.includes(leftover)));
});

test('large requests are taken', async () => {
  const annotations = { big: 'x'.repeat(5 << 20) };
  const envs = [{ key: 'BIG', value: Buffer.alloc(100_000, 'y') }];
  const id = await node.run(pod, { annotations, envs });
  assert.equal((await node.status(id)).annotations['big']?.length, 5 << 20);
  assert.equal((await node.exec(id, ['sh', '-c', 'printf %s "$BIG" | wc -c'])).out.trim(), '100000');
  await node.remove(id);
});

test('files that a container writes are its own, and are removed with it', async () => {
  const first = await node.run(pod, { command: ['sh', '-c', 'echo x > /new; rm /bin/seq; sleep 1000'] });
  const second = await node.run(pod);
  await until('the file is written', async () => (await node.exec(first, ['test', '-e', '/new'])).code === 0);
  assert.equal((await node.exec(second, ['ls', '/new'])).code, 1);
  assert.equal((await node.exec(second, ['seq', '1'])).out, '1\n');
  await Promise.all([node.remove(first), node.remove(second)]);
});

test('the image may be removed while its container exists', async () => {
  const gone = `${node.registry.host}/gone`;
  const { busyboxImage } = await import('../harness/images.ts');
  const image = await node.addImage(
    'gone',
    busyboxImage({ config: { Cmd: busy, Labels: { only: 'here' } } }),
  );
  const id = await node.run(pod, { image: { image: gone }, command: [] });
  await node.client.RemoveImage({ image: { image } });
  const status = await node.status(id);
  assert.deepEqual([status.state, status.imageId], [RUNNING, image]);
  assert.equal((await node.exec(id, ['echo', 'hi'])).out, 'hi\n');
  await node.remove(id);
});

test('invalid requests change nothing', async () => {
  const create = (config: object) =>
    node.client.CreateContainer({ podSandboxId: pod, config, sandboxConfig: {} });
  const { containers: before } = await node.client.ListContainers({});
  await refused(create({}), 'InvalidArgument', /metadata/);
  await refused(
    create({ ...node.containerConfig(), metadata: { name: '' } }),
    'InvalidArgument',
    /name is empty/,
  );
  await refused(create({ ...node.containerConfig(), image: { image: '' } }), 'InvalidArgument', /image/);
  await refused(
    create({ ...node.containerConfig(), image: { image: 'no/such:image' } }),
    'NotFound',
    /no\/such:image/,
  );
  await refused(create(node.containerConfig({ logPath: '../out' })), 'InvalidArgument', /log_path/);
  await refused(create(node.containerConfig({ logPath: 'a:b.log' })), 'InvalidArgument', /a:b\.log/);
  await refused(create(node.containerConfig({ workingDir: 'here' })), 'InvalidArgument', /working_dir/);
  const file = node.containerConfig({ workingDir: '/etc/passwd/here' });
  await refused(create(file), 'InvalidArgument', /\/etc\/passwd\/here cannot be a directory/);
  await refused(create(node.containerConfig({ envs: [{ key: 'A=B' }] })), 'InvalidArgument', /envs/);
  const privileged = node.containerConfig({ security: { privileged: true } });
  await refused(create(privileged), 'InvalidArgument', /privileged/);
  for (const podSandboxId of ['', 'f'.repeat(64)]) {
    const call = node.client.CreateContainer({
      podSandboxId,
      config: node.containerConfig(),
      sandboxConfig: {},
    });
    await refused(call, 'NotFound');
  }
  const { containers: after } = await node.client.ListContainers({});
  assert.equal(after.length, before.length);
});

test('a stopped pod takes no container; StopPodSandbox ends those that run', async () => {
  const other = await node.runPod();
  const created = await node.create(other);
  const running = await node.run(other);
  await node.client.StopPodSandbox({ podSandboxId: other });
  const { state, exitCode } = await node.status(running);
  assert.deepEqual([state, exitCode], [EXITED, 137]);
  await refused(node.create(other), 'FailedPrecondition', /not ready/);
  await refused(node.client.StartContainer({ containerId: created }), 'FailedPrecondition', /not ready/);
  await node.client.RemovePodSandbox({ podSandboxId: other });
  await refused(node.status(running), 'NotFound');
});

test('a container without command is refused, naming the image', async () => {
  const { buildImage, busyboxEntries } = await import('../harness/images.ts');
  const image = await node.addImage('bare', buildImage({ layers: [{ entries: busyboxEntries() }] }));
  await refused(node.create(pod, { image: { image }, command: [] }), 'InvalidArgument', /no command/);
});

test('a missing log directory is created', async () => {
  const logs = join(node.directory, 'deep/er/logs');
  mkdirSync(join(node.directory, 'deep'));
  writeFileSync(join(node.directory, 'deep/file'), '');
  const other = await node.runPod({ logDirectory: logs });
  const id = await node.run(other, { logPath: 'a/b/0.log', command: busy });
  assert.ok(existsSync(join(logs, 'a/b/0.log')), 'the file is there when StartContainer returns');
  await node.remove(id);
});

endsClean(node);
