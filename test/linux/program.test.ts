/** Programs that answer one request, from the main thread and from a worker. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { errnoOf, hasCode } from '#core/errors.ts';
import { type ProgramRequest, runProgram } from '#linux/process/program.ts';
import { within } from './observe.ts';

const request = (script: string, more: Partial<ProgramRequest> = {}): ProgramRequest => ({
  argv: ['sh', '-c', script],
  input: 'registry.example',
  env: { PATH: '/usr/bin:/bin' },
  limit: 4096,
  deadlineMs: 20_000,
  ...more,
});
const never = new AbortController().signal;

test('input, output and status of a program', async () => {
  const output = await runProgram(request('read host; echo "for $host"; echo trouble >&2; exit 3'), never);
  assert.equal(`${output.stdout}`, 'for registry.example\n');
  assert.equal(`${output.stderr}`, 'trouble\n');
  assert.deepEqual(output.status, { code: 3, signal: undefined });
  const deaf = await runProgram(request('exec <&-; echo done', { input: Buffer.alloc(1 << 20) }), never);
  assert.equal(`${deaf.stdout}`, 'done\n', 'one that does not read its input');
});

test('a program that does not end is killed with its children', async () => {
  const stuck = request('sleep 1000 & echo $! > $PIDFILE; wait', { deadlineMs: 300 });
  const pidFile = `${process.env['CRISP_TEST_DIR'] ?? '/tmp'}/program-${process.pid}.pid`;
  const late = runProgram({ ...stuck, env: { ...stuck.env, PIDFILE: pidFile } }, never);
  await assert.rejects(
    late,
    (error) => hasCode(error, 'DeadlineExceeded') && /^sh: .*0\.3 s/.test(error.message),
  );
  const pid = readFileSync(pidFile, 'utf8').trim();
  const state = () => {
    try {
      return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0];
    } catch {
      return 'X';
    }
  };
  await within(() => 'XZ'.includes(state() ?? 'X'));
  const abort = new AbortController();
  const given = runProgram(request('sleep 1000'), abort.signal);
  abort.abort();
  await assert.rejects(given, (error) => hasCode(error, 'Cancelled'));
});

test('too much output and a program that is missing are errors without its text', async () => {
  await assert.rejects(
    runProgram(request('head -c 5000 /dev/zero | tr "\\0" s', { limit: 4999 }), never),
    (error) => hasCode(error, 'ResourceExhausted') && !error.message.includes('ss'),
  );
  await assert.rejects(runProgram(request('', { argv: ['no-such-program'] }), never), (error) => {
    return errnoOf(error) === 'ENOENT' && String(error).includes('no-such-program');
  });
});

test('it runs in a worker thread, several at once', async () => {
  const source = `
    import { parentPort } from 'node:worker_threads';
    const { runProgram } = await import(${JSON.stringify(import.meta.resolve('#linux/process/program.ts'))});
    const request = (n) => ({ argv: ['sh', '-c', 'read host; echo "$host"'], input: 'host' + n, env: { PATH: '/usr/bin:/bin' }, limit: 64, deadlineMs: 20000 });
    const outputs = await Promise.all([1, 2, 3].map((n) => runProgram(request(n), new AbortController().signal)));
    parentPort.postMessage(outputs.map(({ stdout, status }) => [String(stdout), status.code]));
  `;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
    trackUnmanagedFds: false,
  });
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  worker.once('message', resolve).once('error', reject);
  assert.deepEqual(await promise, [
    ['host1\n', 0],
    ['host2\n', 0],
    ['host3\n', 0],
  ]);
  await worker.terminate();
});
