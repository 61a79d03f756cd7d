/** The log of a container: its lines byte for byte, its file at the start, its rotation. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { unreadBytes } from '#linux/io/fifo.ts';
import { busy, EXITED, endsClean, processesWith, refused, TestNode, until } from '../harness/pods.ts';

const node = await TestNode.start('logs');
const pod = await node.runPod();
/** Ticks twice in a tenth of a second until it is signalled. */
const ticking = ['sh', '-c', 'n=0; while :; do echo tick $n; n=$((n+1)); sleep 0.05; done'];
const RECORD = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d) (stdout|stderr) ([FP]) (.*)$/s;

/** The records of a log; fails where a line is none. */
function records(path: string): { stream: string; tag: string; text: string }[] {
  const text = readFileSync(path, 'latin1');
  assert.ok(text === '' || text.endsWith('\n'), 'the log ends within a line');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [, , stream = '', tag = '', content = ''] =
        RECORD.exec(line) ?? assert.fail(`no record: ${line.slice(0, 200)}`);
      return { stream, tag, text: content };
    });
}

test('each line is a record with time, stream and tag; the last one may be partial', async () => {
  const script =
    'echo one; printf "tab\\there\\n"; echo; echo bad >&2; printf "\\377\\000bytes\\n"; printf rest';
  const id = await node.run(pod, { command: ['sh', '-c', script] });
  await node.exited(id);
  const lines = records(await node.logPath(id));
  const stdout = lines.filter(({ stream }) => stream === 'stdout').map(({ tag, text }) => `${tag}:${text}`);
  assert.deepEqual(stdout, ['F:one', 'F:tab\there', 'F:', 'F:\xff\0bytes', 'P:rest']);
  assert.deepEqual(
    lines.filter(({ stream }) => stream === 'stderr'),
    [{ stream: 'stderr', tag: 'F', text: 'bad' }],
  );
  await node.remove(id);
});

test('a long line is split into partial records, the last one full, and nothing is lost', async () => {
  const length = 100_003;
  const id = await node.run(pod, {
    command: ['sh', '-c', `head -c ${length} /dev/zero | tr '\\0' x; echo; echo end`],
  });
  await node.exited(id);
  const lines = records(await node.logPath(id));
  const long = lines.slice(0, lines.findIndex(({ tag }) => tag === 'F') + 1);
  assert.ok(long.length > 1, 'one record of 100 KB');
  assert.ok(long.slice(0, -1).every(({ tag }) => tag === 'P'));
  // What docs/peer-options.md says of conmon.
  assert.ok(long.every(({ text }) => text.length <= 8192));
  assert.equal(long.map(({ text }) => text).join(''), 'x'.repeat(length));
  assert.deepEqual(
    lines.slice(long.length).map(({ text }) => text),
    ['end'],
  );
  await node.remove(id);
});

test('all lines are there when EXITED is seen', async () => {
  for (let round = 0; round < 5; round++) {
    const id = await node.run(pod, { command: ['sh', '-c', 'seq 2000; echo last >&2'] });
    await node.exited(id);
    const lines = records(await node.logPath(id));
    // conmon may cut a line where its buffer ends: the parts are joined by their tags.
    const stdout = lines.filter(({ stream }) => stream === 'stdout');
    const text = stdout.map((line) => line.text + (line.tag === 'F' ? '\n' : '')).join('');
    assert.equal(text, Array.from({ length: 2000 }, (_, n) => `${n + 1}\n`).join(''));
    assert.equal(lines.filter(({ stream }) => stream === 'stderr').length, 1);
    await node.remove(id);
  }
});

test('the names of a container and of its log may be of any letters', async () => {
  const metadata = { name: 'größe', attempt: 0 };
  const id = await node.run(pod, { metadata, logPath: '日志/0.log', command: ['echo', 'said'] });
  await node.exited(id);
  assert.deepEqual(await node.logLines(id), [{ stream: 'stdout', tag: 'F', text: 'said' }]);
  await node.remove(id);
});

test('the file is there when StartContainer returns; without log_path there is none', async () => {
  const id = await node.run(pod, { command: busy });
  const path = await node.logPath(id);
  assert.ok(existsSync(path));
  assert.equal(readFileSync(path, 'utf8'), '');
  const silent = await node.run(pod, {
    command: ['sh', '-c', 'echo nobody reads this; sleep 1000'],
    logPath: '',
  });
  assert.equal(await node.logPath(silent), '');
  await node.client.ReopenContainerLog({ containerId: silent });
  await Promise.all([node.remove(id), node.remove(silent)]);
});

test('rotation: the new file is there on return, and no line is lost or doubled', async () => {
  const id = await node.run(pod, { command: ticking });
  const path = await node.logPath(id);
  const rotated: string[] = [];
  for (let round = 0; round < 3; round++) {
    await until('the log has lines', () => records(path).length > 2);
    const aside = `${path}.${round}`;
    renameSync(path, aside);
    rotated.push(aside);
    await node.client.ReopenContainerLog({ containerId: id });
    assert.ok(existsSync(path));
  }
  await until('the new log has lines', () => readFileSync(path, 'utf8') !== '');
  const sizes = rotated.map((file) => readFileSync(file).length);
  await node.stop(id);
  assert.deepEqual(
    rotated.map((file) => readFileSync(file).length),
    sizes,
    'later output goes to the new file',
  );
  const texts = [...rotated, path].flatMap((file) => records(file).map(({ text }) => text));
  assert.deepEqual(
    texts,
    texts.map((_, n) => `tick ${n}`),
  );
  await node.remove(id);
});

/** Some 220 lines a second; at SIGTERM it prints how many there were. */
const counting = [
  'sh',
  '-c',
  `n=0; trap 'echo end $n; exit 0' TERM
   while :; do
     i=0; while [ $i -lt 10 ]; do echo "line $n of many"; n=$((n+1)); i=$((i+1)); done
     sleep 0.04
   done`,
];

test('ten rotations at 200 lines a second are byte-equal, with the daemon killed in the middle of two', async () => {
  const id = await node.run(pod, { command: counting });
  const path = await node.logPath(id);
  const rotated: string[] = [];
  const reopen = () => node.client.ReopenContainerLog({ containerId: id });
  for (let round = 0; round < 10; round++) {
    await until('the log has lines', () => records(path).length > 20);
    const aside = `${path}.${round}`;
    renameSync(path, aside);
    rotated.push(aside);
    if (round === 3 || round === 7) {
      // The order may be on its way, obeyed, or not given yet; a retry must be right in each case.
      const cut = reopen().catch(() => {});
      if (round === 7) await new Promise((resolve) => setTimeout(resolve, 8));
      await node.restart('kill');
      await cut;
    }
    // Several at once, as of a client that retries.
    await Promise.all([reopen(), reopen(), reopen()]);
    assert.ok(existsSync(path));
  }
  await until('the last log has lines', () => records(path).length > 20);
  await node.stop(id, 10);
  await node.exited(id);
  const text = [...rotated, path]
    .flatMap((file) => records(file).map((line) => line.text + (line.tag === 'F' ? '\n' : '')))
    .join('');
  const count = Number(/end (\d+)\n$/.exec(text)?.[1]);
  const expected = Array.from({ length: count }, (_, n) => `line ${n} of many\n`).join('');
  assert.ok(count > 200);
  assert.ok(text === `${expected}end ${count}\n`, 'the logs joined are what was written');
  await node.remove(id);
});

test('a file that another process has put in the place of the log is not written to', async () => {
  const id = await node.run(pod, { command: ticking });
  const path = await node.logPath(id);
  await until('the log has lines', () => records(path).length > 2);
  renameSync(path, `${path}.moved`);
  writeFileSync(path, '');
  await node.client.ReopenContainerLog({ containerId: id });
  await until('lines are written to the new file', () => records(path).length > 2);
  const texts = [`${path}.moved`, path].flatMap((file) => records(file).map(({ text }) => text));
  assert.deepEqual(
    texts.slice(0, 5),
    [0, 1, 2, 3, 4].map((n) => `tick ${n}`),
  );
  await node.remove(id);
});

test('without its monitor a log that was moved cannot be reopened; no file is made', async () => {
  const id = await node.run(pod, { command: ticking });
  const path = await node.logPath(id);
  await until('the log has lines', () => records(path).length > 2);
  const [monitor = ''] = processesWith(id).filter((line) => /conmon/.test(line));
  process.kill(Number(monitor.split(' ')[0]), 'SIGSTOP');
  renameSync(path, `${path}.moved`);
  const stuck = refused(
    node.client.ReopenContainerLog({ containerId: id }),
    'DeadlineExceeded',
    /reopen log/,
  );
  await stuck;
  assert.ok(!existsSync(path));
  process.kill(Number(monitor.split(' ')[0]), 'SIGCONT');
  await until('the order of before is obeyed', () => existsSync(path));
  await node.client.ReopenContainerLog({ containerId: id });
  const texts = [`${path}.moved`, path].flatMap((file) => records(file).map(({ text }) => text));
  assert.deepEqual(
    texts,
    texts.map((_, n) => `tick ${n}`),
  );
  process.kill(Number(monitor.split(' ')[0]), 'SIGKILL');
  renameSync(path, `${path}.again`);
  const asked = node.client.ReopenContainerLog({ containerId: id });
  await assert.rejects(asked, (error: { code: string }) =>
    ['Unavailable', 'FailedPrecondition'].includes(error.code),
  );
  assert.ok(!existsSync(path));
  await node.remove(id);
});

test('a monitor that dies with a control message in hand is Unavailable, and no file is created', async () => {
  const id = await node.run(pod, { command: ticking });
  const path = await node.logPath(id);
  await until('the log has lines', () => records(path).length > 2);
  const [monitor = ''] = processesWith(id).filter((line) => /conmon/.test(line));
  const pid = Number(monitor.split(' ')[0]);
  process.kill(pid, 'SIGSTOP');
  renameSync(path, `${path}.moved`);
  const asked = refused(node.client.ReopenContainerLog({ containerId: id }), 'Unavailable', /monitor/);
  await until('the order is given', () => {
    const control = join(node.settings.directory, 'state/containers', id, 'ctl');
    return unreadBytes(control) > 0;
  });
  process.kill(pid, 'SIGKILL');
  await asked;
  assert.ok(!existsSync(path));
  await node.remove(id);
});

test('without a rename nothing happens to the file; a missing file is created again', async () => {
  const id = await node.run(pod, { command: ticking });
  const path = await node.logPath(id);
  await until('the log has lines', () => records(path).length > 2);
  const before = readFileSync(path, 'utf8');
  await node.client.ReopenContainerLog({ containerId: id });
  assert.ok(readFileSync(path, 'utf8').startsWith(before));
  rmSync(path);
  await node.client.ReopenContainerLog({ containerId: id });
  await until('the new file has lines', () => readFileSync(path, 'utf8') !== '');
  await node.remove(id);
});

test('the log of an exited or merely created container is not reopened, and no file is made', async () => {
  const id = await node.run(pod, { command: ['true'] });
  assert.equal((await node.exited(id)).state, EXITED);
  const path = await node.logPath(id);
  rmSync(path);
  await refused(node.client.ReopenContainerLog({ containerId: id }), 'FailedPrecondition', /exited/);
  assert.ok(!existsSync(path));
  const created = await node.create(pod);
  await refused(node.client.ReopenContainerLog({ containerId: created }), 'FailedPrecondition', /created/);
  await refused(node.client.ReopenContainerLog({ containerId: 'e'.repeat(64) }), 'NotFound');
  await Promise.all([node.remove(id), node.remove(created)]);
});

test('a pipe in the place of a log is not opened: the start fails and names it', async () => {
  const id = await node.create(pod);
  const path = await node.logPath(id);
  mkdirSync(dirname(path), { recursive: true });
  execFileSync('mkfifo', [path]);
  await refused(
    node.client.StartContainer({ containerId: id }),
    'FailedPrecondition',
    /log .* is not a regular file/,
  );
  rmSync(path);
  await node.remove(id);
});

endsClean(node);
