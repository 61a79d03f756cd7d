/** A daemon that takes connections and does not answer, as one that is stopped or whose loop is held up: no command waits for ever. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { parse } from '../../cli/command.ts';
import { commands } from '../../cli/commands.ts';
import type { Ctl } from '../../cli/ctl/context.ts';
import { exec } from '../../cli/ctl/exec.ts';
import { reload } from '../../cli/reload.ts';
import { runningPulls } from '../../cli/running-pulls.ts';
import { status } from '../../cli/status.ts';
import { Collected } from '../fixtures/terminal.ts';
import { endsClean, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('hung');
const socket = join(node.settings.directory, 'state/admin.sock');
const { signal } = new AbortController();
const { terminal } = new Collected();
const answerMs = 200;
const command = (name: 'status' | 'reload') => {
  const found = commands.find((one) => one.name === name);
  assert.ok(found);
  return parse(name, [], found);
};

/** Its calls of CRI are answered by another: the admin socket alone is that of the hung daemon. */
const execAs = () => {
  const client = {
    ContainerStatus: async () => ({ status: { id: 'a'.repeat(64) } }),
  } as unknown as Ctl['client'];
  const call = () => ({ signal, timeoutMs: answerMs });
  const ctl = { client, adminSocket: socket, terminal, signal, call, now: () => 0n };
  return exec.run(ctl, parse('exec', ['--user', '0', 'a', 'true'], exec));
};

test('status, reload, pulls and exec --user of a hung daemon fail with what to do about it; SIGCONT, and they are answered', async () => {
  const asks = {
    status: () => status(command('status'), { terminal, signal, socket, answerMs }),
    reload: () => reload(command('reload'), { terminal, signal, socket: async () => socket, answerMs }),
    pulls: () => runningPulls(socket, undefined, signal, answerMs),
    exec: execAs,
  };
  process.kill(node.daemon.pid, 'SIGSTOP');
  try {
    for (const [name, ask] of Object.entries(asks))
      await assert.rejects(ask(), (error: Error) => {
        assert.ok(hasCode(error, 'DeadlineExceeded'), name);
        assert.ok(error.message.includes(socket), error.message);
        assert.match(error.hint, new RegExp(`kill -USR1 ${node.daemon.pid}\`.*/livez`));
        return true;
      });
  } finally {
    process.kill(node.daemon.pid, 'SIGCONT');
  }
  assert.equal(await status(command('status'), { terminal, signal, socket }), 0);
  assert.deepEqual(await runningPulls(socket, undefined, signal), []);
});

test('who interrupts the wait is told so, and not that the daemon hangs', async () => {
  process.kill(node.daemon.pid, 'SIGSTOP');
  try {
    const interrupt = AbortSignal.timeout(50);
    await assert.rejects(runningPulls(socket, undefined, interrupt), { code: 'Cancelled' });
  } finally {
    process.kill(node.daemon.pid, 'SIGCONT');
  }
});

endsClean(node);
