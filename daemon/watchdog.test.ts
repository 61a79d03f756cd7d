import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type ServerHttp2Session } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { silentLog } from '#core/operation.ts';
import { Liveness } from './liveness.ts';
import { ServiceManager } from './notify.ts';
import { StoreProbe } from './store-probe.ts';
import { Watchdog } from './watchdog.ts';

test('the service manager hears of the daemon while nothing is wrong, and only then', async () => {
  const answers: (string | undefined)[] = [undefined, 'the socket does not answer', undefined];
  const heard: number[] = [];
  let asked = 0;
  const done = Promise.withResolvers<void>();
  const manager = { watchdogMs: 3, alive: async () => void heard.push(asked) } as unknown as ServiceManager;
  using _watchdog = new Watchdog(
    manager,
    async () => {
      if (asked === answers.length) done.resolve();
      return answers[asked++];
    },
    silentLog,
  );
  await done.promise;
  assert.deepEqual(heard, [1, 3]);
});

test('the interval is that of this process, where there is one', () => {
  const of = (environment: NodeJS.ProcessEnv) => new ServiceManager(environment, { warn() {} }).watchdogMs;
  const NOTIFY_SOCKET = '/run/systemd/notify';
  assert.equal(of({ NOTIFY_SOCKET, WATCHDOG_USEC: '2000000' }), 2000);
  assert.equal(of({ NOTIFY_SOCKET, WATCHDOG_USEC: '2000000', WATCHDOG_PID: String(process.pid) }), 2000);
  for (const environment of [
    { NOTIFY_SOCKET },
    { WATCHDOG_USEC: '2000000' },
    { NOTIFY_SOCKET, WATCHDOG_USEC: '' },
    { NOTIFY_SOCKET, WATCHDOG_USEC: '0' },
    { NOTIFY_SOCKET, WATCHDOG_USEC: 'soon' },
    { NOTIFY_SOCKET, WATCHDOG_USEC: '2000000', WATCHDOG_PID: '1' },
  ])
    assert.equal(of(environment), undefined, JSON.stringify(environment));
});

test('what does not answer is named: a socket without a daemon, or whose daemon is stuck, and a disk', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'crisp-liveness-'));
  const [gone, stuck] = [join(directory, 'gone'), join(directory, 'stuck')];
  const server = createServer(); // takes the connection, and each call, and says nothing
  server.on('stream', () => {});
  const sessions: ServerHttp2Session[] = [];
  server.on('session', (session) => sessions.push(session));
  t.after(() => {
    for (const session of sessions) session.destroy();
    server.close();
    rmSync(directory, { recursive: true });
  });
  await new Promise<void>((resolve) => server.listen(stuck, resolve));
  const write = async () => {
    throw new CrispError('Internal', 'EIO');
  };
  using store = new StoreProbe({ root: '/r', log: silentLog, write });
  await assert.rejects(store.check());
  for (const socket of [gone, stuck]) {
    using liveness = new Liveness({ socket, store, loop: { worstMs: 0 }, answerMs: 50 });
    const [problem = '', curable = ''] = [await liveness.problem(), await liveness.curable()];
    for (const text of [problem, curable])
      assert.ok(text.startsWith(`the socket ${socket} does not answer: `), text);
    assert.match(problem, /root directory \/r cannot be written: EIO/);
    assert.doesNotMatch(curable, /root directory/, 'no restart mends a disk');
  }
  const written = Promise.withResolvers<void>();
  using slow = new StoreProbe({ root: '/r', log: silentLog, write: () => written.promise });
  using liveness = new Liveness({ socket: gone, store: slow, loop: { worstMs: 0 }, answerMs: 50 });
  assert.doesNotMatch((await liveness.problem()) ?? '', /root directory/, 'a slow disk is no failure yet');
  written.resolve();
});
