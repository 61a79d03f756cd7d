/** A daemon that cannot serve all that is configured exits: a partial one would be taken for a complete one. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { startDaemon } from '../harness/daemon.ts';
import { endsClean, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('failed-start');

test('a metrics address in use is an error that names it, and the daemon exits', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const address = taken.address();
  assert.ok(typeof address === 'object' && address);
  const metrics = `127.0.0.1:${address.port}`;
  await node.restart('stop', () =>
    assert.rejects(startDaemon({ ...node.settings, metrics }), (error: Error) => {
      assert.match(error.message, /ended with [1-9]/);
      assert.ok(error.message.includes(metrics), error.message);
      return true;
    }),
  );
  taken.close();
});

test('a seccomp profile that no container could have is an error with file and line', async () => {
  const extra = '[seccomp]\ndefault_profile = "/none.json"';
  await node.restart('stop', () =>
    assert.rejects(
      startDaemon({ ...node.settings, extra }),
      /ended with [1-9][\s\S]*crisp\.toml:\d+: seccomp\.default_profile: .*none\.json/,
    ),
  );
});

for (const [option, name] of [
  ['socket', 'crisp.sock'],
  ['admin_socket', 'admin.sock'],
] as const) {
  test(`another daemon on ${option} is named, and goes on serving`, async () => {
    const path = join(node.settings.directory, 'state', name);
    await node.restart('stop', async () => {
      await using foreign = await foreignDaemon(path);
      await assert.rejects(startDaemon(node.settings), (error: Error) => {
        assert.match(error.message, /ended with [1-9]/);
        assert.ok(error.message.includes(`another daemon serves ${path}`), error.message);
        assert.ok(error.message.includes(`hint: stop it, or set ${option} to another path`), error.message);
        return true;
      });
      assert.equal(await foreign.greeting(), 'foreign');
    });
    const { daemon } = node;
    assert.equal((await daemon.client.Version({})).runtimeName, 'crisp');
  });
}

/** Greets each client. */
async function foreignDaemon(path: string): Promise<AsyncDisposable & { greeting(): Promise<string> }> {
  const server = createServer((socket) =>
    socket
      .on('error', () => {})
      .resume()
      .end('foreign'),
  ).listen(path);
  await once(server, 'listening');
  return {
    async greeting() {
      const socket = connect(path);
      let text = '';
      for await (const piece of socket) text += piece;
      return text;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      await closed;
    },
  };
}

endsClean(node);
