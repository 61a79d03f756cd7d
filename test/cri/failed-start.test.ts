/** A daemon that cannot serve all that is configured exits: a partial one would be taken for a complete one. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
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

endsClean(node);
