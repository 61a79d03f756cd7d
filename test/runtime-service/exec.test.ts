/** ExecSync: results, output of any size, the deadline, and that nothing stays behind. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { endsClean, processesWith, RUNNING, refused, TestNode, until } from '../pods.ts';

const node = await TestNode.start('exec');
const pod = await node.runPod();
const id = await node.run(pod);
const { cgroup } = await node.facts(id);
const sh = (script: string, timeout?: number) => node.exec(id, ['sh', '-c', script], timeout);
const raw = (cmd: string[], containerId = id) =>
  node.client.ExecSync({ containerId, cmd, timeout: fromBigInt(20n) });

for (const [script, code] of [
  ['true', 0],
  ['exit 1', 1],
  ['exit 42', 42],
  ['exit 126', 126],
  ['exit 127', 127],
  ['exit 255', 255],
  ['kill -TERM $$', 143],
  ['kill -KILL $$', 137],
] as const) {
  test(`"${script}" is the result ${code}, not an error`, async () => {
    assert.deepEqual(await sh(script), { code, out: '', err: '' });
  });
}

test('stdout and stderr come apart, and empty where nothing was written', async () => {
  assert.deepEqual(await sh('echo out; echo err >&2; exit 3'), { code: 3, out: 'out\n', err: 'err\n' });
  assert.deepEqual(await sh('echo out'), { code: 0, out: 'out\n', err: '' });
  assert.deepEqual(await sh('echo "exec failed: not so" >&2'), {
    code: 0,
    out: '',
    err: 'exec failed: not so\n',
  });
});

test("a command's own words are no failure of the runtime", async () => {
  for (const text of [
    'exec failed: mine',
    'x: executable file not found in $PATH',
    'time="now" level=error msg="mine"',
  ]) {
    assert.deepEqual(await node.exec(id, ['sh', '-c', 'echo "$0" >&2; exit 1', text]), {
      code: 1,
      out: '',
      err: `${text}\n`,
    });
  }
});

test('binary output arrives as it is', async () => {
  const { stdout } = await raw(['cat', '/bin/busybox']);
  const sum = (await node.exec(id, ['md5sum', '/bin/busybox'])).out.split(' ')[0];
  assert.equal(createHash('md5').update(stdout).digest('hex'), sum);
});

test('20 MiB of output are capped below what a client takes, and the command is not held up', async () => {
  const both =
    'dd if=/dev/zero bs=1M count=20 2>/dev/null; dd if=/dev/zero bs=1M count=20 >&2 2>/dev/null; echo done > /ended';
  const { stdout, stderr, exitCode } = await raw(['sh', '-c', both]);
  assert.equal(exitCode, 0);
  for (const { length } of [stdout, stderr])
    assert.ok(length > 4 << 20 && length <= 8 << 20, `${length} bytes`);
  assert.equal((await sh('cat /ended')).out, 'done\n');
});

test('stdin is empty; the command runs with the environment of the container', async () => {
  assert.deepEqual(await sh('cat; echo $PATH'), { code: 0, out: '/bin\n', err: '' });
});

test('at the deadline all of the command is killed, however it hides, and the container runs on', async () => {
  const hidden =
    'trap "" TERM HUP INT; (setsid sleep 4321 &) ; setsid sh -c "sleep 4321 & sleep 4321" & sleep 4321';
  await refused(sh(hidden, 1), 'DeadlineExceeded', /did not end within 1 s/);
  assert.deepEqual(processesWith('sleep 4321'), []);
  assert.equal((await node.status(id)).state, RUNNING);
  assert.deepEqual(
    node.groups().filter((group) => /\/exec-[0-9a-f]{12}$/.test(group)),
    [],
  );
  assert.equal(node.processesIn(cgroup).length, 1);
});

test('what a command leaves in the background when it ends is ended with it', async () => {
  const { code, out } = await sh('sleep 4322 >/dev/null 2>&1 & echo left');
  assert.deepEqual([code, out], [0, 'left\n']);
  assert.deepEqual(processesWith('sleep 4322'), []);
});

test('a client that goes away ends its command', async () => {
  const client = new AbortController();
  const call = node.client.ExecSync(
    { containerId: id, cmd: ['sleep', '4323'], timeout: fromBigInt(0n) },
    { signal: client.signal },
  );
  await until('it runs', () => processesWith('sleep 4323').some((line) => /^\d+ sleep/.test(line)));
  client.abort();
  await refused(call, 'Cancelled');
  await until('it has ended', () => processesWith('sleep 4323').length === 0);
});

test('commands that cannot be executed are errors', async () => {
  await refused(raw(['/no/such/command']), 'Internal', /no.such.command/);
  await refused(raw(['nosuchcommand']), 'Internal', /nosuchcommand/);
  await refused(raw(['/etc/passwd']), 'Internal', /passwd|denied/);
  await refused(raw([]), 'InvalidArgument', /cmd is empty/);
  const negative = node.client.ExecSync({ containerId: id, cmd: ['true'], timeout: fromBigInt(-1n) });
  await refused(negative, 'InvalidArgument', /negative/);
});

test('unknown, created and exited containers are refused', async () => {
  await refused(raw(['true'], 'c'.repeat(64)), 'NotFound');
  await refused(raw(['true'], ''), 'NotFound');
  const created = await node.create(pod);
  await refused(raw(['true'], created), 'FailedPrecondition', /created/);
  const exited = await node.run(pod, { command: ['true'] });
  await node.exited(exited);
  await refused(raw(['true'], exited), 'FailedPrecondition', /exited/);
  await Promise.all([node.remove(created), node.remove(exited)]);
});

test('a command whose container is stopped ends with it', async () => {
  const other = await node.run(pod);
  const call = node.exec(other, ['sleep', '4324'], 0);
  await until('it runs', () => processesWith('sleep 4324').some((line) => /^\d+ sleep/.test(line)));
  await node.stop(other, 0);
  assert.equal((await call).code, 137);
  assert.deepEqual(processesWith('sleep 4324'), []);
  await node.remove(other);
});

test('a command that meets the end of its container has a result, or is told that the container has ended', async () => {
  for (const ms of [0, 10, 20, 30]) {
    const other = await node.run(pod);
    const calls = [1, 2].map(() =>
      node.exec(other, ['true']).then(
        ({ code }) => code,
        (error: { code: string; message: string }) =>
          error.code === 'FailedPrecondition' ? error.code : error.message,
      ),
    );
    await sleep(ms);
    await node.stop(other, 0);
    for (const outcome of await Promise.all(calls))
      assert.ok([0, 137, 'FailedPrecondition'].includes(outcome), `${outcome}`);
    await node.remove(other);
  }
});

test('100 commands in a row leave the daemon as it was', async () => {
  const descriptors = () => readdirSync(`/proc/${node.daemon.pid}/fd`).length;
  const children = () => processesWith('').filter((line) => line.includes(node.settings.directory)).length;
  await sh('true');
  const before = { descriptors: descriptors(), children: children(), groups: node.groups().length };
  for (let n = 0; n < 100; n++) assert.equal((await node.exec(id, ['true'])).code, 0);
  // A descriptor may still be on its way out.
  await until('descriptors are as before', () => descriptors() <= before.descriptors);
  assert.deepEqual([children(), node.groups().length], [before.children, before.groups]);
});

test('8 at a time', async () => {
  const outputs = await Promise.all(Array.from({ length: 8 }, (_, n) => sh(`echo ${n}; exit ${n}`)));
  assert.deepEqual(
    outputs.map(({ code, out }) => [code, out]),
    outputs.map((_, n) => [n, `${n}\n`]),
  );
});

endsClean(node);
