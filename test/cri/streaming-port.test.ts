/** A fixed port of sessions that another program has: known from the start on, and until it is free. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { endsClean, TestNode, until } from '../harness/pods.ts';
import { freePort } from '../image-service/registry.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const taken = createServer().listen(0, '127.0.0.1');
await once(taken, 'listening');
const bound = taken.address();
assert.ok(typeof bound === 'object' && bound);
const address = `127.0.0.1:${bound.port}`;
const metrics = `127.0.0.1:${await freePort()}`;
const node = await TestNode.start('ports', { metrics, extra: `[streaming]\naddress = "${address}"` });
const runtimeReady = async () => {
  const { status } = await node.client.Status({});
  const found = status?.conditions.find(({ type }) => type === 'RuntimeReady');
  return { isReady: found?.status, reason: found?.reason, message: found?.message ?? '' };
};
/** What `crisp check` says of the ports. */
function ports(): string {
  const file = join(node.settings.directory, 'crisp.toml');
  const { stdout } = spawnSync(process.execPath, [MAIN, 'check', '-c', file], { encoding: 'utf8' });
  return stdout.split('\n').find((line) => /^\w+ +ports /.test(line)) ?? '';
}

test('the node stays Ready, Status and crisp check name the port and who has it', async () => {
  const { isReady, reason, message } = await until('it is reported', async () => {
    const found = await runtimeReady();
    return found.reason === '' ? undefined : found;
  });
  assert.deepEqual([isReady, reason], [true, 'StreamingUnavailable']);
  assert.ok(message.includes(address) && /EADDRINUSE.*; check which process/.test(message), message);
  const line = ports();
  assert.match(
    line,
    new RegExp(`^failure +ports +streaming\\.address: ${address} is in use by \\S+ \\(pid ${process.pid}\\)`),
  );
  assert.match(line, /; remedy: .*set streaming\.address to a free address/);
});

test('once it is free the trouble goes, and sessions are served there', async () => {
  taken.close();
  await until('it goes', async () => (await runtimeReady()).message === '');
  assert.match(
    ports(),
    new RegExp(
      `^ok +ports +metrics\\.address ${metrics} is served by the daemon .*, streaming\\.address ${address} is free$`,
    ),
  );
  const container = await node.run(await node.runPod());
  const { url } = await node.client.Exec({ containerId: container, cmd: ['true'], stdout: true });
  assert.equal(new URL(url).host, address);
  assert.match(
    ports(),
    new RegExp(`streaming\\.address ${address} is served by the daemon \\(pid ${node.daemon.pid}\\)$`),
  );
});

endsClean(node);
