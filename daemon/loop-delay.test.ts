import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { Liveness } from './liveness.ts';
import { LoopDelay } from './loop-delay.ts';

/** A loop whose turns a test decides. */
function stand() {
  let now = 0;
  let look = () => {};
  const timer = setTimeout(() => {}, 0);
  const delay = new LoopDelay({
    now: () => now,
    every(_ms, act) {
      look = act;
      return timer;
    },
  });
  /** The next look comes after so long. */
  const turn = (ms: number) => {
    now += ms;
    look();
  };
  return { delay, turn, pass: (ms: number) => (now += ms) };
}

test('what holds the loop up counts while it lasts, for a while afterwards, and no longer', () => {
  const { delay, turn, pass } = stand();
  for (let n = 0; n < 10; n++) turn(1000);
  assert.equal(delay.worstMs, 0);
  pass(13_000);
  assert.equal(delay.worstMs, 12_000, 'before the timer has its turn');
  turn(0);
  for (let n = 0; n < 8; n++) turn(1000);
  assert.equal(delay.worstMs, 12_000);
  for (let n = 0; n < 60; n++) turn(1000);
  assert.equal(delay.worstMs, 0);
});

test('a loop that is held up is no health, though the socket answers in time; a restart is worth a try', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'loop-'));
  const socket = join(directory, 's');
  const server = createServer().on('stream', (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.from([0, 0, 0, 0, 0]));
  });
  t.after(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  const loop = { worstMs: 9000 };
  using liveness = new Liveness({ socket, store: { latest: () => undefined }, loop });
  assert.equal(await liveness.problem(), undefined);
  loop.worstMs = 12_340;
  for (const found of [await liveness.problem(), await liveness.curable()])
    assert.equal(found, 'the event loop is held up: for 12.3 s, more than 10 s');
});
