import assert from 'node:assert/strict';
import test from 'node:test';
import type { ContainerId } from '#core/ids.ts';
import { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { execStream } from './exec-stream.ts';

test('a command is not started where its container ends while the size of its terminal is waited for', async () => {
  const id = 'a'.repeat(64) as ContainerId;
  let state = 'running';
  const context = {
    options: { state: '/none', timeouts: { kill: 1000 } },
    containers: { resolve: () => ({ id, state, cgroup: { path: '/none' } }), get: () => undefined },
    handlers: { get: () => ({}) },
    kernel: { streams: { execShims: () => [] }, cgroups: { processes: () => [], remove: async () => {} } },
  };
  const onResize = (tell: (columns: number, rows: number) => void) => {
    state = 'exited';
    tell(80, 24);
  };
  const streams = { stdin: undefined, stdout: undefined, stderr: undefined, onResize };
  const command = { command: ['sh'], tty: true };
  const running = execStream(context as unknown as Context, id, command, streams, new Operation('exec'));
  await assert.rejects(running, { code: 'FailedPrecondition', message: /is exited, not running/ });
});
