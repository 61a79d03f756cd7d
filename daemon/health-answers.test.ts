import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type ServerHttp2Stream } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import type { Trouble } from '#linux/ports/troubles.ts';
import { Health } from './health.ts';
import { HealthAnswers } from './health-answers.ts';
import { Since } from './since.ts';

const { signal } = new AbortController();

/** A socket that answers each call when it is told to. */
async function stand(t: { after(act: () => void): void }) {
  const directory = mkdtempSync(join(tmpdir(), 'health-'));
  const socket = join(directory, 's');
  const held: ServerHttp2Stream[] = [];
  let holds = false;
  const reply = (stream: ServerHttp2Stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.from([0, 0, 0, 0, 0]));
  };
  const server = createServer().on('stream', (stream) => (holds ? held.push(stream) : reply(stream)));
  t.after(() => {
    server.close();
    rmSync(directory, { recursive: true });
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return {
    socket,
    hold: () => (holds = true),
    answer() {
      holds = false;
      for (const stream of held.splice(0)) reply(stream);
    },
  };
}

test('what is well stays so since its begin, and what is not since its first problem', () => {
  let now = 1000;
  const since = new Since(() => new Date(now));
  const note = (problem?: string) => {
    now += 1000;
    since.note(problem);
    return [since.answer.problem, new Date(since.answer.since).getTime()];
  };
  assert.deepEqual(note(), [undefined, 1000]);
  assert.deepEqual(note('one'), ['one', 3000]);
  assert.deepEqual(note('another'), ['another', 3000]);
  assert.deepEqual(note(), [undefined, 5000]);
});

test('one judgement by path and from memory: live, ready, conditions; a socket that does not answer yet is said to wait', async (t) => {
  const { socket, hold, answer } = await stand(t);
  const troubles: Trouble[] = [];
  const network = { ready: true, reason: '', message: '' };
  let root: Trouble | undefined;
  const health = new Health({ troubles: () => troubles });
  const store = { latest: () => root };
  using answers = new HealthAnswers({ socket, store, health, network: () => network, askedMs: 20 });
  const { byPath } = answers;
  assert.match((await byPath['/readyz']()) ?? '', /recovery/);
  assert.match(answers.now().ready.problem ?? '', /recovery/);
  assert.equal(answers.now().live.problem, undefined);
  health.recovered();
  for (const ask of Object.values(byPath)) assert.equal(await ask(), undefined);
  assert.equal(answers.now().ready.problem, undefined);

  const eio = { reason: 'StoreUnwritable', message: 'EIO', hint: 'see', podsFail: true };
  root = eio;
  troubles.push(eio);
  const failing = answers.now();
  assert.equal(await byPath['/livez'](), 'EIO');
  assert.deepEqual(
    [failing.live.problem, failing.ready.problem, failing.unready],
    ['EIO', 'EIO; see', 'EIO; see'],
  );
  assert.deepEqual(
    failing.conditions.map(({ type, status, reason }) => [type, status, reason]),
    [
      ['RuntimeReady', false, 'StoreUnwritable'],
      ['NetworkReady', true, ''],
    ],
  );
  assert.equal(answers.now().live.since, failing.live.since);
  troubles.pop();
  root = undefined;

  hold();
  await answers.asked(signal);
  const waiting = answers.now();
  assert.equal(waiting.live.problem, undefined, 'it may still answer');
  assert.ok((waiting.checks.find(({ name }) => name === 'socket')?.waitingSeconds ?? 0) > 0);
  const livez = byPath['/livez']();
  answer();
  assert.equal(await livez, undefined);
  assert.ok(answers.now().checks.every(({ waitingSeconds }) => waitingSeconds === undefined));
});
