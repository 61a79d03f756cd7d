/** Connections to plugins over a real socket: well-behaved plugins, and those that flood, hang, send garbage or die. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import test, { after, type TestContext } from 'node:test';
import { hasFailed, nri, openPluginConnection, type PluginConnection } from '#api/nri/index.ts';
import { configText as configOf, installPlugin, type LaunchedConfig, launchedCalls } from './launched.ts';
import { eventMask, TestPlugin, type TestPluginOptions } from './plugin.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-nri-'));
after(() => rmSync(directory, { recursive: true }));
const path = join(directory, 'nri.sock');
const server = createServer().listen(path);
await once(server, 'listening');
after(() => server.close());

const soon = { timeoutMs: 60_000 };

interface Runtime {
  readonly connection: PluginConnection;
  readonly socket: Duplex;
  readonly registered: Promise<nri.RegisterPluginRequest>;
  updates: number;
}

function runtimeOn(socket: Duplex): Runtime {
  const { promise, resolve } = Promise.withResolvers<nri.RegisterPluginRequest>();
  const connection = openPluginConnection(socket, { describe: () => 'plugin 10-test' });
  const runtime = { connection, socket, registered: promise, updates: 0 };
  connection.serve({
    RegisterPlugin(request) {
      resolve(request);
      return {};
    },
    UpdateContainers({ update }) {
      runtime.updates++;
      return { failed: update };
    },
  });
  return runtime;
}

async function connected(context: TestContext, options: Partial<TestPluginOptions> = {}) {
  const accepted = once(server, 'connection');
  const plugin = await TestPlugin.connect(path, { name: 'test', index: '10', ...options });
  const runtime = runtimeOn((await accepted)[0] as Socket);
  context.after(() => {
    plugin.die();
    runtime.socket.destroy();
  });
  return { plugin, runtime };
}

/** One by one. */
async function callOften({ connection }: Runtime, times: number): Promise<void> {
  for (let count = 0; count < times; count++) await connection.call('StateChange', {}, soon);
}

test('a plugin registers, is configured and synchronized, follows events and asks for updates', async (context) => {
  const { plugin, runtime } = await connected(context, {
    events: [nri.Event.CREATE_CONTAINER, nri.Event.STOP_CONTAINER],
  });
  await plugin.register();
  assert.deepEqual(await runtime.registered, { pluginName: 'test', pluginIdx: '10', NRIVersion: '0.12.2' });
  const { events } = await runtime.connection.call(
    'Configure',
    { config: 'a: b', requestTimeout: 2000n },
    soon,
  );
  assert.equal(events, eventMask([nri.Event.CREATE_CONTAINER, nri.Event.STOP_CONTAINER]));
  assert.deepEqual(
    [(await plugin.configured).config, (await plugin.configured).requestTimeout],
    ['a: b', 2000n],
  );
  const first = await runtime.connection.call('Synchronize', { pods: [{ id: 'p' }], more: true }, soon);
  assert.equal(first.more, true);
  await runtime.connection.call('Synchronize', { containers: [{ id: 'a' }, { id: 'b' }] }, soon);
  const { pods, containers } = await plugin.synchronized;
  assert.deepEqual([pods.length, containers.map(({ id }) => id)], [1, ['a', 'b']]);
  plugin.on('CreateContainer', async ({ container }) => ({
    adjust: { env: [{ key: 'ID', value: container?.id ?? '' }], linux: { oomScoreAdj: { value: -5n } } },
  }));
  const { adjust } = await runtime.connection.call('CreateContainer', { container: { id: 'c' } }, soon);
  assert.deepEqual([adjust?.env, adjust?.linux?.oomScoreAdj], [[{ key: 'ID', value: 'c' }], { value: -5n }]);
  const { failed } = await plugin.update([{ containerId: 'c' }]);
  assert.deepEqual(
    failed.map(({ containerId }) => containerId),
    ['c'],
  );
  assert.equal((await plugin.received('CreateContainer')).container?.id, 'c');
  assert.deepEqual(
    plugin.calls.map(({ method }) => method),
    ['Configure', 'Synchronize', 'Synchronize', 'CreateContainer'],
  );
  runtime.connection.close();
  assert.equal(await plugin.closed, undefined);
});

test('messages of four MiB go both ways while small ones do', async (context) => {
  const { plugin, runtime } = await connected(context);
  const value = 'x'.repeat(4_100_000);
  plugin.on('CreateContainer', ({ container }) => ({
    adjust: { annotations: { value: container?.labels['value'] ?? '' } },
  }));
  const [{ adjust }] = await Promise.all([
    runtime.connection.call('CreateContainer', { container: { labels: { value } } }, soon),
    callOften(runtime, 20),
    plugin.update([{ containerId: value }]),
  ]);
  assert.ok(adjust?.annotations['value'] === value);
});

test('a plugin that hangs ends by the deadline, and answers further calls', async (context) => {
  const { plugin, runtime } = await connected(context);
  plugin.hang('StopContainer');
  const call = runtime.connection.call('StopContainer', {}, { timeoutMs: 20 });
  await assert.rejects(call, (error) => hasFailed(error, 'deadline'));
  await callOften(runtime, 3);
});

test('a plugin that floods and does not take the answers is cut off, and others are served', async (context) => {
  const [flooding, other] = [await connected(context), await connected(context)];
  flooding.plugin.flood();
  const served = callOften(other.runtime, 300);
  const error = await flooding.runtime.connection.closed;
  assert.ok(hasFailed(error, 'protocol'));
  assert.match(error.message, /more requests than it takes answers to/);
  assert.ok(flooding.runtime.updates > 1000);
  await served;
});

test('a plugin that floods and takes the answers does not hold up others', async (context) => {
  const [flooding, other] = [await connected(context), await connected(context)];
  flooding.plugin.flood({ reads: true });
  await callOften(other.runtime, 300);
  assert.ok(flooding.runtime.updates > 100);
  flooding.runtime.connection.close(new Error('it floods'));
  await flooding.plugin.closed;
});

test('a plugin that does not read is given no more than a bound', async (context) => {
  const { plugin, runtime } = await connected(context);
  plugin.stopReading();
  const config = 'x'.repeat(4_000_000);
  const calls: Promise<unknown>[] = [];
  const failures: unknown[] = [];
  for (let count = 0; count < 10; count++)
    calls.push(runtime.connection.call('Configure', { config }, soon).catch((error) => failures.push(error)));
  runtime.connection.close(new Error('it hangs'));
  await Promise.all(calls);
  const busy = failures.filter((error) => hasFailed(error, 'busy'));
  assert.equal(failures.length, 10);
  assert.ok(busy.length >= 4 && failures.every((error) => hasFailed(error, 'busy', 'closed')));
  await once(runtime.socket, 'close'); // although it could not be sent
});

test('garbage, a part of a message, and the end of a plugin end all waits', async (context) => {
  const cases: [(plugin: TestPlugin) => void, 'protocol' | undefined][] = [
    [(plugin) => plugin.sendGarbage(), 'protocol'],
    [(plugin) => plugin.sendGarbage(Buffer.alloc(100, 0xff)), 'protocol'],
    [(plugin) => plugin.socket.end(Buffer.from('0000000200000400', 'hex')), 'protocol'],
    [(plugin) => plugin.socket.end(), undefined],
    [(plugin) => plugin.die(), undefined],
  ];
  for (const [act, failure] of cases) {
    const { plugin, runtime } = await connected(context);
    plugin.hang('CreateContainer');
    const call = runtime.connection.call('CreateContainer', {}, soon);
    const waiting = assert.rejects(call, (error) => hasFailed(error, 'closed'));
    await plugin.received('CreateContainer');
    act(plugin);
    await waiting;
    const error = await runtime.connection.closed;
    assert.ok(failure ? hasFailed(error, failure) : error === undefined, String(error));
    await plugin.closed;
  }
});

/** As the runtime starts a plugin: the socket is descriptor 3. */
function launch(
  context: TestContext,
  fullName: string,
  config: LaunchedConfig,
): { child: ChildProcess; runtime: Runtime } {
  const [plugins, dropIns] = [join(directory, 'plugins'), join(directory, 'conf.d')];
  installPlugin(fullName, { plugins, dropIns }, config);
  const [index = '', name = ''] = fullName.split('-');
  const child = spawn(join(plugins, fullName), {
    env: { NRI_PLUGIN_NAME: name, NRI_PLUGIN_IDX: index, NRI_PLUGIN_SOCKET: '3' },
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
  });
  context.after(() => child.kill('SIGKILL'));
  return { child, runtime: runtimeOn(child.stdio[3] as Duplex) };
}

test('a plugin that is started with a socket does what its configuration says', async (context) => {
  const log = join(directory, 'launched.log');
  const update = [
    { containerId: 'other', linux: { resources: { memory: { limit: { value: 2n ** 60n + 1n } } } } },
  ];
  const config = { log, events: [4], create: { update }, refuse: { StartContainer: 'not now' } };
  const { child, runtime } = launch(context, '20-started', config);
  assert.deepEqual(
    [(await runtime.registered).pluginIdx, (await runtime.registered).pluginName],
    ['20', 'started'],
  );
  const { connection } = runtime;
  const { events } = await connection.call('Configure', { config: JSON.stringify({ log }) }, soon);
  assert.equal(events, 0);
  await connection.call('Configure', { config: configOf(config) }, soon);
  const { update: wanted } = await connection.call('CreateContainer', { container: { createdAt: 5n } }, soon);
  assert.deepEqual(wanted[0]?.linux?.resources?.memory?.limit, { value: 2n ** 60n + 1n });
  await assert.rejects(connection.call('StartContainer', {}, soon), /not now/);
  const calls = launchedCalls(log);
  assert.deepEqual(
    calls.map(({ method }) => method),
    ['Configure', 'Configure', 'CreateContainer', 'StartContainer'],
  );
  assert.ok(calls[2]?.method === 'CreateContainer' && calls[2].request.container?.createdAt === 5n);
  connection.close();
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});

test('the death of a plugin, by a signal and by itself, ends the call that waits', async (context) => {
  const config = { log: '', hang: ['CreateContainer'], exit: ['StopContainer'] } as const;
  for (const method of ['CreateContainer', 'StopContainer'] as const) {
    const { child, runtime } = launch(context, '30-dying', config);
    await runtime.registered;
    await runtime.connection.call('Configure', { config: configOf(config) }, soon);
    const call = runtime.connection.call(method, {}, soon);
    if (method === 'CreateContainer') child.kill('SIGKILL');
    await assert.rejects(call, (error) => hasFailed(error, 'closed'));
    await runtime.connection.closed;
  }
});
