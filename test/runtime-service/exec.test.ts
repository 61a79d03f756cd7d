/** ExecSync: results, output of any size, the deadline, and that nothing stays behind. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { endsClean, processesWith, RUNNING, refused, TestNode, until } from '../harness/pods.ts';
import { endProcesses } from '../harness/processes.ts';

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

test("a command's own output is no failure of the runtime", async () => {
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

test('at the deadline all processes of the command are killed, in other sessions too, and the container keeps running', async () => {
  const hidden = `trap "" TERM HUP INT; (setsid sleep 4321${process.pid} &) ; setsid sh -c "sleep 4321${process.pid} & sleep 4321${process.pid}" & sleep 4321${process.pid}`;
  const call = sh(hidden, 1);
  await refused(call, 'DeadlineExceeded', /did not end within 1 s and was killed/);
  await call.catch(({ message }) => assert.doesNotMatch(message, /retry is safe/));
  assert.deepEqual(processesWith(`sleep 4321${process.pid}`), []);
  assert.equal((await node.status(id)).state, RUNNING);
  assert.deepEqual(
    node.groups().filter((group) => /\/exec-[0-9a-f]{12}$/.test(group)),
    [],
  );
  assert.equal(node.processesIn(cgroup).length, 1);
});

/** The child cgroups of commands. */
const execGroups = () => node.groups().filter((group) => /\/exec-[0-9a-f]{12}$/.test(group));
const running = (mark: string) => processesWith(mark).filter((line) => /^\d+ sleep/.test(line));

for (const [what, script] of [
  [
    'holds its outputs and ignores SIGHUP',
    "trap '' HUP; (while :; do date >>/tmp/x; sleep 0.MARK; done) & echo left",
  ],
  ['has its streams on /dev/null', 'sleep MARK >/dev/null 2>&1 & echo left'],
  ['has a session of its own', 'setsid sleep MARK & echo left'],
] as const) {
  test(`a job that ${what} holds up no command, and runs on; its cgroup goes with it`, async () => {
    const mark = `43${Math.floor(Math.random() * 1e9)}`;
    for (const timeout of [0, 20])
      assert.deepEqual(await sh(script.replace('MARK', mark), timeout), { code: 0, out: 'left\n', err: '' });
    await until('both jobs are at work', () => processesWith(mark).length >= 2);
    assert.ok(execGroups().length >= 2);
    await node.restart('kill');
    assert.ok(processesWith(mark).length >= 2, 'a restart is none of their concern');
    await until('no job is at work', () => {
      const lines = processesWith(mark);
      endProcesses(lines.map((line) => Number(line.split(' ')[0])));
      return lines.length === 0;
    });
    await until('their groups are gone', () => execGroups().length === 0);
  });
}

test('jobs end with their container, and their cgroups, too', async () => {
  const other = await node.run(pod);
  const mark = `44${Math.floor(Math.random() * 1e9)}`;
  assert.equal((await node.exec(other, ['sh', '-c', `setsid sleep ${mark} & :`])).code, 0);
  await until('it runs', () => running(mark).length === 1);
  await node.stop(other, 0);
  assert.deepEqual(processesWith(mark), []);
  await node.remove(other);
  await until('its group is gone', () => execGroups().length === 0);
});

test('a job that goes on writing does not hold up its command, whose output is whole', async () => {
  const mark = `45${Math.floor(Math.random() * 1e9)}`;
  const { code, out } = await sh(`echo first; (while :; do echo ${mark}; done) & echo last`);
  assert.equal(code, 0);
  assert.match(out, /^first\n/);
  assert.match(out, /^last\n/m);
  await until('it has met the closed pipe', () => execGroups().length === 0);
});

test('a client that goes away ends its command', async () => {
  const client = new AbortController();
  const call = node.client.ExecSync(
    { containerId: id, cmd: ['sleep', `4323${process.pid}`], timeout: fromBigInt(0n) },
    { signal: client.signal },
  );
  await until('it runs', () =>
    processesWith(`sleep 4323${process.pid}`).some((line) => /^\d+ sleep/.test(line)),
  );
  client.abort();
  await refused(call, 'Cancelled');
  await until('it has ended', () => processesWith(`sleep 4323${process.pid}`).length === 0);
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
  const call = node.exec(other, ['sleep', `4324${process.pid}`], 0);
  await until('it runs', () =>
    processesWith(`sleep 4324${process.pid}`).some((line) => /^\d+ sleep/.test(line)),
  );
  await node.stop(other, 0);
  assert.equal((await call).code, 137);
  assert.deepEqual(processesWith(`sleep 4324${process.pid}`), []);
  await node.remove(other);
});

test('a command that meets the end of its container has a result, or the error that the container has ended', async () => {
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
