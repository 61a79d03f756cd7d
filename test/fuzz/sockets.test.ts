/**
 * Malformed input on each socket of one daemon: it replies, refuses or closes, keeps serving, and leaks no descriptor. Which bytes: FC_SEED and the counterexample that fast-check prints; how often: FC_RUNS.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type NetConnectOpts } from 'node:net';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { endsClean, TestNode, until } from '../harness/pods.ts';
import { anyBytes, grpcBytes, httpBytes } from './bytes.ts';

const node = await TestNode.start('fuzz', { head: '', metrics: `127.0.0.1:${9200 + (process.pid % 700)}` });
const pod = await node.runPod();
const container = await node.run(pod);
const { pid, socket } = node.daemon;
const admin = { path: join(dirname(socket), 'admin.sock') };
const metrics = { host: '127.0.0.1', port: 9200 + (process.pid % 700) };
const session = async () => {
  const reply = await node.client.Exec({ containerId: container, cmd: ['cat'], stdin: true, stdout: true });
  return new URL(reply.url);
};
const streaming = { host: '127.0.0.1', port: Number((await session()).port) };
const RUNS = {
  numRuns: Number(process.env['FC_RUNS'] ?? 150),
  ...(process.env['FC_SEED'] ? { seed: Number(process.env['FC_SEED']) } : {}),
};

/** Sends all pieces and waits until the other side has closed, or has had time enough to crash. */
async function send(to: NetConnectOpts, pieces: readonly Uint8Array[], finish: boolean): Promise<void> {
  const connection = connect(to);
  const closed = new Promise<void>((resolve) => connection.once('close', () => resolve()));
  connection.on('error', () => {}).on('data', () => {});
  for (const piece of pieces) {
    connection.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (finish) connection.end();
  await Promise.race([closed, sleep(20)]);
  connection.destroy();
  await closed;
}

async function statusOf(
  options: { socketPath?: string; host?: string; port?: number },
  path: string,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const asking = request({ ...options, path, agent: false }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode ?? 0));
    });
    asking.once('error', reject).end();
  });
}

const descriptors = () => readdirSync(`/proc/${pid}/fd`).length;
const defects = () =>
  readFileSync(node.daemon.logFile, 'utf8')
    .split('\n')
    .filter((line) => /"msg":"(bug|defect)/.test(line));

/** The daemon lives, each of its sockets serves, no descriptor is left open, and no bug was logged. */
async function unharmed(before: number): Promise<void> {
  await node.client.Version({});
  assert.equal(await statusOf({ socketPath: admin.path }, '/nothing'), 404);
  assert.equal(await statusOf(metrics, '/healthz'), 200);
  assert.equal(await statusOf(streaming, '/exec/none'), 404);
  await until('descriptors are as before', () => descriptors() <= before + 2);
  assert.deepEqual(defects(), []);
  assert.equal((await node.exec(container, ['echo', 'lives'])).out, 'lives\n');
}

for (const [name, to, bytes] of [
  ['the CRI socket', { path: socket }, grpcBytes],
  ['the admin socket', admin, httpBytes],
  ['the metrics listener', metrics, httpBytes],
  ['the streaming server', streaming, httpBytes],
] as const) {
  test(`${name} takes any bytes`, async () => {
    await unharmed(descriptors());
    const before = descriptors();
    await fc.assert(
      fc.asyncProperty(fc.oneof(bytes, anyBytes), fc.boolean(), async (pieces, finish) => {
        await send(to, pieces, finish);
        assert.ok(readdirSync('/proc').includes(`${pid}`), 'the daemon has ended');
      }),
      RUNS,
    );
    await unharmed(before);
  });
}

test('a session of a valid token takes any bytes after the upgrade', async () => {
  const before = descriptors();
  const upgrades = fc.constantFrom(
    'Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n',
    'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n',
  );
  await fc.assert(
    fc.asyncProperty(upgrades, anyBytes, async (upgrade, pieces) => {
      const { pathname } = await session();
      const head = `POST ${pathname} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n${upgrade}\r\n`;
      await send(
        streaming,
        [Buffer.from(head.replace('POST', upgrade.includes('web') ? 'GET' : 'POST')), ...pieces],
        false,
      );
    }),
    { ...RUNS, numRuns: RUNS.numRuns / 3 },
  );
  await unharmed(before);
});

endsClean(node);
