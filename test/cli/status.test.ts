/** How the daemon is asked for its state: `crisp status`, /livez, /readyz and /healthz, and SIGUSR1, which opens no debugger. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import type { DaemonStatus } from '#api/admin/contract.ts';
import { NODE, TestNode, until } from '../harness/pods.ts';
import { startFront } from '../image-service/front.ts';
import { freePort } from '../image-service/registry.ts';
import { isBlob } from '../image-service/scene.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const METRICS = `127.0.0.1:${await freePort()}`;
const node = await TestNode.start('status', { metrics: METRICS });
test.after(() => node[Symbol.asyncDispose]());
const config = join(node.settings.directory, 'crisp.toml');

async function crisp(...args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.on('data', (piece) => (out += piece));
  child.stderr.on('data', (piece) => (err += piece));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out, err };
}

const get = async (path: string): Promise<[number, string]> => {
  const response = await fetch(`http://${METRICS}${path}`);
  return [response.status, await response.text()];
};
const statusNow = async (): Promise<DaemonStatus> =>
  JSON.parse((await crisp('status', '--config', config, '-o', 'json')).out) as DaemonStatus;

test('pods, containers, images, memory and the configuration, as text and as JSON', async () => {
  const pod = await node.runPod({}, { network: NODE });
  await node.run(pod);
  const { code, out, err } = await crisp('status', '--config', config);
  assert.deepEqual([code, err], [0, '']);
  for (const line of [
    /^Daemon: .*crisp \S+, pid \d+, since /m,
    /^Live: +yes$/m,
    /^Ready: +yes$/m,
    /^RuntimeReady: +yes$/m,
    /^NetworkReady: +yes$/m,
    /^Pods: +1 ready$/m,
    /^Containers: +1 running$/m,
    /^Images: +1, layers: /m,
    /^Memory: .* resident, .* heap$/m,
    new RegExp(`^Configuration: +${config}$`, 'm'),
    /cgroup\.driver \(.*crisp\.toml:\d+/,
  ])
    assert.match(out, line);
  const status = await statusNow();
  assert.equal(status.pid, node.daemon.pid);
  assert.deepEqual([status.pods, status.containers, status.images], [{ ready: 1 }, { running: 1 }, 1]);
  assert.equal(status.unready, undefined);
});

test('calls and pulls in progress, with their stage and age', async () => {
  await using front = await startFront(node.registry.url);
  const held = Promise.withResolvers<void>();
  front.rule = (req, _res, forward) => {
    if (!isBlob(req.url)) return false;
    void held.promise.then(() => forward());
    return true;
  };
  await node.client.RemoveImage({ image: { image: node.image } });
  const pull = node.client.PullImage({ image: { image: `${front.host}/busybox` } });
  pull.catch(() => {});
  const seen = await until('the pull is shown', async () => {
    const { operations, pulls } = await statusNow();
    const found = operations.find(({ name, stages }) => name === 'PullImage' && stages.length > 0);
    return found && pulls.length > 0 ? found : undefined;
  });
  assert.match(seen.id, /^[0-9a-f]{12}$/);
  assert.ok(seen.seconds >= 0 && (seen.stages[0]?.name ?? '') !== '');
  assert.match((await crisp('status', '--config', config)).out, /^PullImage +[0-9a-f]{12} /m);
  held.resolve();
  await pull.catch(() => {}); // the front is plain HTTP, which the configuration may refuse
});

test('without a network the node gets no pods: the exit code, /readyz and the text say so', async () => {
  assert.deepEqual(await get('/readyz'), [200, 'ok\n']);
  assert.deepEqual(await get('/livez'), [200, 'ok\n']);
  const [conf, away] = [
    join(node.settings.directory, 'cni/net.d'),
    join(node.settings.directory, 'cni/away'),
  ];
  renameSync(conf, away);
  mkdirSync(conf);
  await until('the network is missed', async () => (await get('/readyz'))[0] === 503);
  assert.match((await get('/readyz'))[1], /net\.d/);
  const { code, out } = await crisp('status', '--config', config);
  assert.equal(code, 1);
  assert.match(out, /^Live: +yes$/m);
  assert.match(out, /^Ready: +no, since \S+Z: .*net\.d/m);
  assert.match(out, /^NetworkReady: +no: NetworkPluginNotReady: .*net\.d/m);
  assert.deepEqual([(await get('/livez'))[0], (await get('/healthz'))[0]], [200, 200]);
  renameSync(join(away, '10-crisp.conflist'), join(conf, '10-crisp.conflist'));
  await until('it is back', async () => (await get('/readyz'))[0] === 200);
});

test('SIGUSR1 writes the state to the log, and opens no debugger', async () => {
  process.kill(node.daemon.pid, 'SIGUSR1');
  const line = await until('the report', () =>
    readFileSync(node.daemon.logFile, 'utf8')
      .split('\n')
      .find((text) => text.includes('SIGUSR1')),
  );
  assert.equal((JSON.parse(line) as { status: DaemonStatus }).status.pid, node.daemon.pid);
  const debuggers = await new Promise<string>((resolve) => {
    const socket = connect(9229, '127.0.0.1');
    socket.once('error', (error) => resolve(error.message));
    socket.once('connect', () => resolve('connected'));
  });
  assert.match(debuggers, /ECONNREFUSED/);
});

test('no daemon, another server, and what is no form of output', async () => {
  const none = await crisp('status', '--config', config, '--admin-socket', '/nonexistent/s');
  assert.equal(none.code, 1);
  assert.match(none.err, /\/nonexistent\/s/);
  assert.equal((await crisp('status', '--config', config, '-o', 'xml')).code, 2);
  const cri = await crisp('status', '--config', config, '--admin-socket', node.daemon.socket);
  assert.equal(cri.code, 1);
});
