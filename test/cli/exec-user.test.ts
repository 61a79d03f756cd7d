/** `crisp ctl exec --user`: commands as another user than the container's. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import test from 'node:test';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { endsClean, TestNode, until } from '../harness/pods.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const node = await TestNode.start('exec-user');
const pod = await node.runPod();
const security = { runAsUser: { value: fromBigInt(1000n) } };
const id = await node.run(pod, {
  security: { ...security, readonlyRootfs: false },
  command: ['sleep', '1000'],
});
const adminSocket = join(node.settings.directory, 'state/admin.sock');

const exec = (...words: string[]) => {
  const own = ['ctl', '-r', `unix://${node.daemon.socket}`, 'exec', ...words];
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...own], { encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
};
const IDS = ['sh', '-c', 'id -u; id -g; id -G; echo $HOME'];

test('a number, with a group or without; the container has its own user as before', () => {
  assert.equal(exec(id, ...IDS).out.split('\n')[0], '1000');
  assert.deepEqual(exec('--user', '0', id, ...IDS), { code: 0, out: '0\n0\n0\n/root\n', err: '' });
  assert.equal(exec('-u', '5:7', id.slice(0, 12), ...IDS).out, '5\n7\n7\n/\n');
});

test("names, groups and home are those of the container's own files as they are now", async () => {
  const script =
    'mkdir -p /etc; echo "app:x:77:88::/srv:/bin/sh" >>/etc/passwd; printf "extra:x:99:app\\nlog:x:66:\\n" >>/etc/group';
  assert.equal(exec('--user', '0', id, 'sh', '-c', script).code, 0);
  assert.equal(exec('--user', 'app', id, ...IDS).out, '77\n88\n88 99\n/srv\n');
  assert.equal(exec('--user', 'app:log', id, ...IDS).out.split('\n')[1], '66');
});

test('exit codes, input and both outputs are those of the command', () => {
  assert.equal(exec('-u', '0', id, 'sh', '-c', 'exit 7').code, 7);
  const own = ['ctl', '-r', `unix://${node.daemon.socket}`, 'exec', '-i', '-u', '3', id, 'sh', '-c'];
  const { stdout, stderr } = spawnSync(process.execPath, [MAIN, ...own, 'cat; echo bad >&2'], {
    input: 'in',
    encoding: 'utf8',
  });
  assert.deepEqual([stdout, stderr], ['in', 'bad\n']);
});

test('what cannot be is an error, and no command runs', () => {
  for (const [words, message] of [
    [['-u', 'nobody-knows', id, 'true'], /user "nobody-knows" is not in/],
    [['-u', '0:none', id, 'true'], /group "none" is not in/],
    [['-u', ':5', id, 'true'], /the user ":5" is empty/],
    [['-u', '4294967295', id, 'true'], /4294967295/],
    [['-u', '0', 'ffffffffffff', 'true'], /ffffffffffff/],
    [['-u', '0', id, '/no/such'], /no\/such/],
  ] as const) {
    const { code, err } = exec(...words);
    assert.equal(code, 1, err);
    assert.match(err, message);
  }
  const both = exec('-s', '-u', '0', id, 'true');
  assert.equal(both.code, 2);
  assert.match(both.err, /cannot be combined/);
});

test('the log has container and user, and nothing of the command; bad requests are refused', async () => {
  exec('-u', '0', id, 'sh', '-c', 'true hunter2');
  const log = () => readFileSync(node.daemon.logFile, 'utf8');
  await until('it is logged', () => /"user":"0","msg":"a command as another user is requested"/.test(log()));
  assert.doesNotMatch(log(), /hunter2/);
  const post = (body: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const asked = request(
        { socketPath: adminSocket, method: 'POST', path: `/v1/containers/${id}/exec` },
        (reply) => {
          reply.resume();
          resolve(reply.statusCode ?? 0);
        },
      );
      asked.once('error', reject).end(body);
    });
  const good = { command: ['true'], user: '0', stdin: false, stdout: true, stderr: true, tty: false };
  for (const wrong of [
    '',
    '[]',
    'null',
    '{}',
    JSON.stringify({ ...good, command: [] }),
    JSON.stringify({ ...good, command: ['a\0'] }),
    JSON.stringify({ ...good, user: '' }),
    JSON.stringify({ ...good, tty: true }),
    JSON.stringify({ ...good, tty: 'yes' }),
    JSON.stringify({ ...good, user: 'x'.repeat(2 << 20) }),
  ])
    assert.equal(await post(wrong), 400, wrong.slice(0, 60));
  assert.equal(await post(JSON.stringify(good)), 200);
});

endsClean(node);
