/** Plugins beside the real daemon: each event of a pod's life, what is adjusted, restarts of either side. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { nri } from '#api/nri/index.ts';
import { endsClean, polite, refused, TestNode, until } from '../harness/pods.ts';
import { installPlugin, launchedCalls } from './launched.ts';
import { adminNri, joinNri } from './node.ts';
import type { Method } from './plugin.ts';

const node = await TestNode.start('nri');
const { directory } = node.settings;
const socket = join(directory, 'state/nri.sock');
const { Event } = nri;
const joined = (index: string, name: string, events: readonly number[] = []) =>
  joinNri(node, { index, name, events });

test('the socket is for root alone', () => {
  const { mode } = statSync(socket);
  assert.deepEqual([mode & 0o777, statSync(socket).isSocket()], [0o600, true]);
});

test('a plugin gets all events of the life of a pod, in order', async () => {
  await using plugin = await joined('10', 'logger');
  const pod = await node.runPod();
  const id = await node.create(pod, { envs: [{ key: 'FROM_POD', value: Buffer.from('1') }] });
  await node.client.StartContainer({ containerId: id });
  await node.client.UpdateContainerResources({ containerId: id, linux: { cpuShares: 512 as never } });
  await node.client.UpdatePodSandboxResources({ podSandboxId: pod });
  await node.stop(id);
  await node.remove(id);
  await node.client.StopPodSandbox({ podSandboxId: pod });
  await node.client.RemovePodSandbox({ podSandboxId: pod });
  await plugin.received('RemovePodSandbox', (request) => request.pod?.id === pod);
  const expected: Method[] = [
    'Configure',
    'Synchronize',
    'RunPodSandbox',
    'CreateContainer',
    'ValidateContainerAdjustment',
    'PostCreateContainer',
    'StartContainer',
    'PostStartContainer',
    'UpdateContainer',
    'PostUpdateContainer',
    'UpdatePodSandbox',
    'PostUpdatePodSandbox',
    'StopContainer',
    'RemoveContainer',
    'StopPodSandbox',
    'RemovePodSandbox',
  ];
  assert.deepEqual(
    plugin.calls.map(({ method }) => method),
    expected,
  );
  const [created] = plugin.of('CreateContainer');
  assert.equal(created?.pod?.id, pod);
  assert.equal(created?.container?.id, id);
  assert.ok(created?.container?.env.includes('FROM_POD=1'));
  const started = await plugin.received('PostStartContainer');
  assert.equal(started.container?.state, nri.ContainerState.CONTAINER_RUNNING);
  assert.ok((started.container?.pid ?? 0) > 0);
});

test('what plugins adjust is in the container; two that want one thing differently fail it, with both names', async () => {
  await using one = await joined('10', 'one', [Event.CREATE_CONTAINER]);
  await using two = await joined('20', 'two', [Event.CREATE_CONTAINER]);
  one.on('CreateContainer', () => ({ adjust: { env: [{ key: 'ONE', value: '1' }] } }));
  two.on('CreateContainer', ({ container }) => ({
    adjust: {
      env: [{ key: 'TWO', value: container?.env.find((entry) => entry.startsWith('ONE=')) ?? '' }],
      mounts: [{ destination: '/from-plugin', type: 'tmpfs', source: 'tmpfs', options: ['ro'] }],
      rlimits: [{ type: 'RLIMIT_NOFILE', soft: 100n, hard: 200n }],
    },
  }));
  const pod = await node.runPod();
  const { out } = await node.output(pod, [
    'sh',
    '-c',
    'echo $ONE $TWO; ulimit -n; grep -c /from-plugin /proc/mounts',
  ]);
  assert.deepEqual(out.split('\n'), ['1 ONE=1', '100', '1']);
  two.on('CreateContainer', () => ({ adjust: { env: [{ key: 'ONE', value: '2' }] } }));
  const config = node.containerConfig();
  await refused(
    node.client.CreateContainer({ podSandboxId: pod, config, sandboxConfig: {} }),
    'FailedPrecondition',
    /10-one.*20-two|20-two.*10-one/s,
  );
  two.on('CreateContainer', () => ({}));
  const { containerId } = await node.client.CreateContainer({ podSandboxId: pod, config, sandboxConfig: {} });
  await node.remove(containerId);
});

test('a plugin that refuses fails the call with its name and message, and nothing is left', async () => {
  await using plugin = await joined('10', 'strict');
  plugin.refuse('RunPodSandbox', 'no pods today');
  await refused(node.runPod(), 'Internal', /10-strict.*no pods today/s);
  plugin.on('RunPodSandbox', () => ({})).refuse('CreateContainer', 'no container');
  const pod = await node.runPod();
  await refused(node.create(pod), 'Internal', /10-strict.*no container/s);
  plugin.on('CreateContainer', () => ({})).refuse('StartContainer', 'no start');
  const id = await node.create(pod);
  await refused(node.client.StartContainer({ containerId: id }), 'Internal', /10-strict.*no start/s);
  await node.remove(id);
  plugin.on('StartContainer', () => ({})).refuse('UpdateContainer', 'no update');
  const other = await node.run(pod);
  await refused(
    node.client.UpdateContainerResources({ containerId: other, linux: { cpuShares: 300 as never } }),
    'Internal',
    /10-strict.*no update/s,
  );
  await node.client.RemovePodSandbox({ podSandboxId: pod });
});

test('updates of other containers are in force, and unsolicited ones; evictions end them', async () => {
  await using plugin = await joined('10', 'policy', [Event.CREATE_CONTAINER]);
  const pod = await node.runPod();
  const other = await node.run(pod, { command: polite, resources: { cpuShares: 256 as never } });
  const update = (shares: bigint): nri.ContainerUpdateInit => ({
    containerId: other,
    linux: { resources: { cpu: { shares: { value: shares } } } },
  });
  plugin.on('CreateContainer', () => ({ update: [update(300n)] }));
  await node.create(pod);
  const sharesOf = async () => Number((await node.status(other)).resources?.linux?.cpuShares ?? 0);
  assert.equal(await sharesOf(), 300);
  plugin.on('CreateContainer', () => ({}));
  assert.deepEqual((await plugin.update([update(400n)])).failed, []);
  assert.equal(await sharesOf(), 400);
  await plugin.update([], [{ containerId: other, reason: 'tests' }]);
  await node.exited(other);
});

test('a plugin that hangs is dropped with its name; stop and remove have not waited for it', async () => {
  await using plugin = await joined('10', 'hanging', [Event.STOP_CONTAINER, Event.CREATE_CONTAINER]);
  plugin.hang('StopContainer');
  const pod = await node.runPod();
  const id = await node.run(pod);
  await node.stop(id);
  await node.remove(id);
  await node.client.StopPodSandbox({ podSandboxId: pod });
  await plugin.closed;
  const { troubles } = JSON.parse(
    JSON.stringify({ troubles: (await node.client.Status({ verbose: true })).info['troubles'] }),
  );
  assert.match(troubles, /10-hanging/);
  const log = () => readFileSync(node.daemon.logFile, 'utf8');
  await until('the log has its name', () => /"plugin":"10-hanging".*is dropped/.test(log()));
  const { plugins } = await adminNri(node);
  const [ended] = plugins.filter(({ name }) => name === 'hanging');
  assert.deepEqual([ended?.state, ended?.dropped], ['ended', 'deadline']);
});

for (const end of ['stop', 'kill'] as const)
  test(`after a ${end} of the daemon plugins reconnect and are told of all pods and containers`, async () => {
    const first = await joined('10', 'one');
    const pod = await node.runPod();
    const id = await node.run(pod);
    await node.restart(end);
    await first.closed;
    await using one = await joined('10', 'one');
    await using two = await joined('20', 'two');
    for (const plugin of [one, two]) {
      const { pods, containers } = await plugin.synchronized;
      assert.ok(pods.some((found) => found.id === pod));
      assert.equal(containers.find((found) => found.id === id)?.state, nri.ContainerState.CONTAINER_RUNNING);
    }
    await node.client.StopPodSandbox({ podSandboxId: pod });
    assert.equal((await two.received('StopContainer')).container?.id, id);
  });

test('pre-installed plugins are there before the first container, and end with the daemon', async () => {
  const at = { plugins: join(directory, 'nri/plugins'), dropIns: join(directory, 'nri/conf.d') };
  const log = join(directory, 'calls');
  const create = { adjust: { annotations: { 'by.plugin': 'yes' } } };
  await node.restart('stop', async () => installPlugin('30-injector', at, { log, create }));
  const pod = await node.runPod();
  await node.run(pod);
  assert.ok(launchedCalls(log).some(({ method }) => method === 'CreateContainer'));
  const pidOf = async () => (await adminNri(node)).plugins.find(({ name }) => name === 'injector')?.pid;
  const pid = await pidOf();
  assert.ok(existsSync(`/proc/${pid}`));
  await node.restart('kill');
  await node.run(pod);
  const next = await pidOf();
  assert.notEqual(next, pid);
  await until('the former one has ended', () => !existsSync(`/proc/${pid}`));
  await node.restart('stop', async () => assert.ok(!existsSync(`/proc/${next}`)));
});

test('a foreign daemon on the socket: NRI is off and says so, the daemon serves', async () => {
  const foreign = createServer(() => {});
  await node.restart('stop', async () => {
    assert.ok(!existsSync(socket));
    foreign.listen(socket);
    await once(foreign, 'listening');
  });
  const { info } = await node.client.Status({ verbose: true });
  assert.match(info['troubles'] ?? '', /NriUnavailable.*another daemon serves/s);
  await node.runPod();
  await node.restart('stop', async () => {
    foreign.close();
    await once(foreign, 'close');
  });
  await using _plugin = await joined('10', 'again');
});

endsClean(node);
