/** A node whose inotify is used up by other programs: the daemon polls, and reports it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { EXITED, endsClean, NODE, TestNode, until } from '../harness/pods.ts';

const base = process.env['CRISP_TEST_DIR'] ?? '';
const library = join(base, 'no-inotify.so');
const usedUp = join(base, 'no-inotify');
execFileSync('cc', ['-shared', '-fPIC', '-o', library, join(import.meta.dirname, 'no-inotify.c'), '-O1']);
writeFileSync(usedUp, 'instances');
const node = await TestNode.start('inotify', {
  environment: { LD_PRELOAD: library, CRISP_TEST_NO_INOTIFY: usedUp },
});
const conditions = async () => (await node.client.Status({})).status?.conditions ?? [];
const runtimeReady = async () => {
  const { status, info } = await node.client.Status({ verbose: true });
  const { message = '', ...rest } = status?.conditions.find(({ type }) => type === 'RuntimeReady') ?? {};
  return { ...rest, message, info };
};
const lines = (pattern: RegExp) =>
  readFileSync(node.daemon.logFile, 'utf8')
    .split('\n')
    .filter((line) => pattern.test(line));
const warnings = () => lines(/"level":"warn".*no inotify:/);
const recoveries = () => lines(/"msg":"recovered"/).length;

for (const limit of ['instances', 'watches']) {
  const sysctl = `fs.inotify.max_user_${limit}`;

  test(`no ${limit} are left: exits are seen, stops succeed, recovery goes on, Status reports it`, async () => {
    writeFileSync(usedUp, limit);
    const before = warnings().length;
    await node.restart('kill');
    const pod = await node.runPod({}, { network: NODE });
    const [ends, stopped, victim] = await Promise.all([
      node.run(pod, { command: ['sh', '-c', 'exit 7'] }),
      node.run(pod),
      node.run(pod),
    ]);
    assert.equal((await node.exited(ends)).exitCode, 7);
    await node.stop(stopped);
    assert.equal((await node.status(stopped)).state, EXITED);
    const { pid } = await node.facts(victim);
    const recovered = recoveries();
    await node.restart('kill', async () => {
      process.kill(pid, 'SIGKILL');
    });
    assert.equal((await node.exited(victim)).exitCode, 137);
    await until('the recovery has ended', () => recoveries() > recovered);
    assert.equal(warnings().length - before, 2, 'one warning of each of the two daemons');
    assert.match(warnings().at(-1) ?? '', new RegExp(`${sysctl}.*sysctl -w ${sysctl}=`));
    const { status, reason, message, info } = await runtimeReady();
    assert.deepEqual([status, reason], [true, 'InotifyExhausted']);
    assert.match(message, new RegExp(sysctl));
    assert.match(info['troubles'] ?? '', new RegExp(`sysctl -w ${sysctl}=`));
  });
}

test('a change of the CNI configuration is found all the same', async () => {
  const file = join(node.settings.directory, 'cni/net.d/10-crisp.conflist');
  const ready = async () => (await conditions()).find(({ type }) => type === 'NetworkReady')?.status;
  renameSync(file, `${file}.away`);
  await until('NetworkReady is false', async () => (await ready()) === false);
  renameSync(`${file}.away`, file);
  await until('NetworkReady is true', ready);
});

test('with free instances again the daemon watches again, and Status reports nothing', async () => {
  rmSync(usedUp);
  await until('nothing is reported', async () => (await runtimeReady()).message === '');
  const pod = await node.runPod({}, { network: NODE });
  assert.equal((await node.exited(await node.run(pod, { command: ['sh', '-c', 'exit 8'] }))).exitCode, 8);
});

endsClean(node);
