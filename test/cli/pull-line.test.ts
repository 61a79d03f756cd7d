/** `crisp ctl pull` on a terminal, against a runtime without crisp's admin socket. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { join } from 'node:path';
import test from 'node:test';
import { ctl } from '../../cli/ctl.ts';
import { until } from '../harness/pods.ts';
import { directory, runtime } from './harness.ts';

async function pull(...more: string[]): Promise<string> {
  const held = Promise.withResolvers<void>();
  runtime.pulling = held.promise;
  let drawn = '';
  const terminal = {
    out: () => {},
    err: (text: string | Uint8Array) => {
      drawn += text;
    },
    interactive: true,
    size: () => ({ columns: 60, rows: 24 }),
  };
  const words = ['-r', join(directory, 's'), ...more, 'pull', 'busybox:latest'];
  const ended = ctl(words, terminal, new AbortController().signal);
  await until('the line is drawn twice', () => /pulling busybox.*pulling busybox/s.test(drawn));
  held.resolve();
  assert.equal(await ended, 0);
  return drawn;
}

test('one line shows the elapsed time, and is erased at the end', async () => {
  const drawn = await pull();
  assert.match(drawn, /\[J\[ *==== *\] pulling busybox:latest {2}\d\.\d s/);
  assert.ok(drawn.endsWith('\r\u001b[J'));
});

test('the same with a socket that another server has', async () => {
  const socket = join(directory, 'other.sock');
  const asked = Promise.withResolvers<void>();
  const server = createServer((_request, response) => {
    asked.resolve();
    response.end('{"pulls": 7}');
  }).listen(socket);
  try {
    const drawn = await pull('--admin-socket', socket);
    await asked.promise;
    assert.doesNotMatch(drawn, /layers/);
  } finally {
    server.close();
  }
});
