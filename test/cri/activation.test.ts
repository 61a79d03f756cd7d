/** Socket activation: systemd's part is done here, which is to open the socket and to keep it while daemons come and go. */
import assert from 'node:assert/strict';
import { closeSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import koffi from 'koffi';
import { connectCri } from '#api/cri/v1/client.ts';
import { startDaemon } from '../harness/daemon.ts';
import { endsClean, TestNode } from '../harness/pods.ts';

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int domain, int type, int protocol)');
const bind = libc.func('int bind(int fd, const uint8_t *address, uint32_t length)');
const listen = libc.func('int listen(int fd, int backlog)');

function listenAt(fd: number, path: string): void {
  const address = Buffer.concat([Buffer.of(AF_UNIX, 0), Buffer.from(`${path}\0`)]);
  assert.equal(bind(fd, address, address.length), 0, path);
  assert.equal(listen(fd, 128), 0);
}

/** Starts a daemon as systemd does; the shell becomes the daemon. */
const wrapper = [
  'sh',
  '-c',
  'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=crisp.socket; exec "$@"',
  'sh',
];
const kept: number = socket(AF_UNIX, SOCK_STREAM_CLOEXEC, 0);
after(() => closeSync(kept));
const node = await TestNode.start('activation', {
  wrapper,
  descriptors: [kept],
  prepare(directory) {
    mkdirSync(join(directory, 'state'), { recursive: true });
    listenAt(kept, join(directory, 'state/crisp.sock'));
  },
});
const path = join(node.settings.directory, 'state/crisp.sock');

test('the daemon serves on the socket that was passed on, and hands it to no monitor', async () => {
  const containerId = await node.run(await node.runPod(), { command: ['sleep', '1000'] });
  const { info } = await node.client.ContainerStatus({ containerId, verbose: true });
  const { pid } = JSON.parse(info['info'] ?? '{}') as { pid: number };
  const monitor = /^PPid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  assert.doesNotMatch(readFileSync(`/proc/${monitor}/environ`, 'utf8'), /LISTEN_/);
  const inode = statSync(`/proc/self/fd/${kept}`).ino;
  const open = readdirSync(`/proc/${monitor}/fd`).map((fd) => statSync(`/proc/${monitor}/fd/${fd}`).ino);
  assert.ok(open.length > 2 && !open.includes(inode));
});

test('a call between two daemons waits for the second; the socket and the pods stay', async () => {
  const { ino } = statSync(path);
  const pods = async () => (await node.client.ListPodSandbox({})).items.map(({ id, state }) => [id, state]);
  const before = await pods();
  for (const end of ['stop', 'kill'] as const) {
    using client = connectCri(path);
    const calls: Promise<{ runtimeName: string }>[] = [];
    await node.restart(end, async () => {
      assert.equal(statSync(path).ino, ino, 'it is not removed');
      calls.push(client.Version({}, { timeoutMs: 120_000 }));
    });
    assert.deepEqual(
      (await Promise.all(calls)).map(({ runtimeName }) => runtimeName),
      ['crisp'],
    );
    assert.deepEqual(await pods(), before);
  }
});

test('a socket at another path than that of the configuration is refused, by name', async () => {
  const other = { ...node.settings, directory: join(node.directory, 'other') };
  await assert.rejects(
    startDaemon({ ...other, state: join(node.directory, 'other/run') }),
    /systemd has passed on the socket \S+\/crisp\/state\/crisp\.sock; crisp serves one, \S+\/other\/run\/crisp\.sock/,
  );
  await assert.rejects(
    startDaemon({ ...other, wrapper: wrapper.map((word) => word.replace('LISTEN_FDS=1', 'LISTEN_FDS=2')) }),
    /systemd has passed on 2 sockets/,
  );
});

endsClean(node);
