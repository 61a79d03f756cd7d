/** `crisp ctl debug`: programs in the namespaces of real pods and containers. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { busy, endsClean, POD, TestNode, until } from '../harness/pods.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const node = await TestNode.start('debug');
const metadata = { name: 'web', uid: 'u', namespace: 'shop', attempt: 0 };
const pod = await node.runPod({ metadata }, { network: POD });
const script = 'echo secret >/mark; exec sleep 1000';
const id = await node.run(pod, { command: ['sh', '-c', script], metadata: { name: 'main', attempt: 0 } });
const { pid } = await node.facts(id);
await until('the container has written', () => {
  try {
    return readFileSync(`/proc/${pid}/root/mark`, 'utf8') === 'secret\n';
  } catch {
    return false;
  }
});
const endpoint = `unix://${node.daemon.socket}`;

const debug = (words: readonly string[], input = '') => {
  const own = [MAIN, 'ctl', '-r', endpoint, 'debug', ...words];
  const env = { ...process.env, SHELL: '/bin/sh' };
  const { status, stdout, stderr, signal } = spawnSync(process.execPath, own, {
    input,
    encoding: 'utf8',
    env,
  });
  return { code: status, out: stdout, err: stderr, signal };
};
const netOf = (of: number | 'self'): string => readlinkSync(`/proc/${of}/ns/net`);
const mntOf = (of: number | 'self'): string => readlinkSync(`/proc/${of}/ns/mnt`);
const WHERE = 'readlink /proc/self/ns/net; readlink /proc/self/ns/mnt; echo $CRISP_POD; cat $CRISP_ROOT/mark';

test("a program of the node is in the pod's network, with the container's files by path", () => {
  assert.notEqual(netOf(pid), netOf('self'));
  const expected = `${netOf(pid)}\n${mntOf('self')}\nshop/web\nsecret\n`;
  for (const target of ['web', pod, id.slice(0, 12)]) {
    const { code, out, err } = debug([target, '--', 'sh', '-c', WHERE]);
    assert.deepEqual([code, out, err], [0, expected, ''], target);
  }
  assert.equal(debug(['--net', 'web', 'sh', '-c', WHERE]).out, expected);
  assert.match(debug(['web', '--', 'ip', '-o', 'addr', 'show', 'eth0']).out, /inet 10\.234\.7\./);
});

test('without a command a shell; where it is, is said on the standard error', () => {
  const { code, out, err } = debug(['web'], 'readlink /proc/self/ns/net\nexit 5\n');
  assert.deepEqual([code, out], [5, `${netOf(pid)}\n`]);
  assert.match(
    err,
    /pod shop\/web\n.*network: of the pod\n.*programs: of the node\n.*container main: \/proc\/\d+\/root/,
  );
});

test("with --mounts programs and files are the container's; with --net its network as well", () => {
  const { code, out, err } = debug(['--mounts', 'web', '--', 'sh', '-c', `${WHERE}; echo $PATH`]);
  assert.deepEqual([code, err], [0, '']);
  const [net, mnt, , mark, path] = out.split('\n');
  assert.deepEqual([net, mnt, mark], [netOf('self'), mntOf(pid), 'secret']);
  assert.match(path ?? '', /^\/usr\/local\/sbin:/);
  assert.match(
    debug(['--mounts', '--net', id, 'sh', '-c', WHERE]).out,
    new RegExp(netOf(pid).replace(/[[\]]/g, '.')),
  );
  assert.match(debug(['--mounts', 'web', 'mount']).out, /^overlay on \/ type overlay/);
  assert.equal(debug(['--mounts', 'web', 'sh', '-c', 'exit 7']).code, 7);
  assert.equal(debug(['--mounts', 'web', 'sh', '-c', 'kill -9 $$']).code, 137);
  const shell = debug(['--mounts', 'web'], 'cat /mark\n');
  assert.equal(shell.out, 'secret\n');
  assert.match(shell.err, /they run as root of the node, unconfined/);
});

test('the program has default signals, the usual limit of files, and no descriptor of crisp', () => {
  const script = 'grep SigIgn /proc/self/status; ulimit -Sn; ls -l /proc/self/fd';
  const [ignored = '', files, ...descriptors] = debug(['web', 'sh', '-c', script]).out.split('\n');
  assert.match(ignored, /SigIgn:\s0+$/);
  assert.ok(Number(files) <= 1024, files);
  const others = descriptors.filter((line) => / ([3-9]|\d\d+) -> /.test(line));
  assert.doesNotMatch(others.join('\n'), /socket:|anon_inode:|net:|mnt:/);
});

test('a signal to crisp is one to the program in the pid namespace', async () => {
  const own = [MAIN, 'ctl', '-r', endpoint, 'debug', '--mounts', 'web', 'sh', '-c'];
  const script = 'trap "echo bye; exit 9" TERM; echo up; while :; do sleep 0.05; done';
  const child = spawn(process.execPath, [...own, script], { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (piece) => (out += piece));
  const ended = new Promise((resolve) => child.once('close', resolve));
  await Promise.race([until('it runs', () => out === 'up\n'), ended]);
  child.kill('SIGTERM');
  assert.equal(await ended, 9);
  assert.equal(out, 'up\nbye\n');
});

test('the program takes the place of crisp: its end by a signal is the end of crisp', async () => {
  const own = [MAIN, 'ctl', '-r', endpoint, 'debug', 'web', 'sh', '-c', 'echo up; exec sleep 1000'];
  const child = spawn(process.execPath, own, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('close', (_code, signal) => resolve(signal)));
  await Promise.race([new Promise((resolve) => child.stdout.once('data', resolve)), ended]);
  child.kill('SIGINT');
  assert.equal(await ended, 'SIGINT');
});

test('what cannot be is an error', async () => {
  const second = await node.run(pod, { command: busy, metadata: { name: 'side', attempt: 0 } });
  const ended = await node.runPod({ metadata: { ...metadata, name: 'gone', uid: 'v' } }, { network: POD });
  await node.client.StopPodSandbox({ podSandboxId: ended });
  for (const [words, code, message] of [
    [['nothing'], 1, /no ready pod and no running container matches "nothing"/],
    [['gone'], 1, /no ready pod/],
    [['--mounts', 'web'], 2, /matches several containers: .*-c|matches several containers/],
    [['-c', 'other', 'web'], 1, /no running container "other".*[\s\S]*it has/],
    [['web', '--', 'no-such-program'], 1, /execute no-such-program: ENOENT/],
    [['--mounts', '-c', 'side', 'web', '--', '/no/such'], 1, /start \/no\/such: ENOENT/],
    [[], 2, /too few arguments/],
  ] as const) {
    const result = debug(words);
    assert.equal(result.code, code, `${words.join(' ')}: ${result.err}`);
    assert.match(result.err, message);
  }
  const both = debug(['web'], 'echo "[$CRISP_ROOT]"\n');
  assert.equal(both.out, '[]\n');
  assert.match(both.err, /container main: [\s\S]*container side: /);
  assert.match(debug(['-c', 'side', 'web'], 'echo "$CRISP_ROOT"\n').out, /^\/proc\/\d+\/root\n$/);
  await node.remove(second);
});

test('only root may', { skip: process.getuid?.() !== 0 && 'not root' }, () => {
  const { status, stderr } = spawnSync(
    'setpriv',
    ['--reuid', '65534', '--clear-groups', process.execPath, MAIN, 'ctl', '-r', endpoint, 'debug', 'web'],
    { encoding: 'utf8' },
  );
  assert.equal(status, 1);
  assert.match(stderr, /only root may enter namespaces|EACCES|cannot|permission/i);
});

endsClean(node);
