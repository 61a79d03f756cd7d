import assert from 'node:assert/strict';
import { spawn as nodeSpawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Duplex, Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { hasCode } from '#core/errors.ts';
import { ProcessWatches } from '#linux/process/child.ts';
import { readBootId } from '#linux/process/identity.ts';
import { RealProcesses } from '#linux/process/processes.ts';
import { launcher, silent, statusOf, strayDescriptor, within } from './observe.ts';

const processes = new RealProcesses(new ProcessWatches(readBootId()), launcher, silent);
const env = { PATH: '/usr/bin:/bin' };
const soon = () => AbortSignal.timeout(20_000);

test('a spawned program has default signals, its own session, three descriptors and a soft limit of 1024', async () => {
  const stray = strayDescriptor();
  process.on('SIGUSR2', () => {});
  const child = await processes.spawn({ argv: ['sleep', '100'], env, cwd: '/usr' });
  try {
    const { pid } = child.process;
    const status = statusOf(pid);
    assert.equal(BigInt(`0x${status['SigBlk']}`), 0n);
    assert.equal(BigInt(`0x${status['SigIgn']}`), 0n);
    assert.equal(BigInt(`0x${status['SigCgt']}`), 0n);
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    assert.deepEqual([stat[2], stat[3]], [`${pid}`, `${pid}`], 'leads its group and session');
    // The loader of the new program may still hold a library open.
    const descriptors = () => readdirSync(`/proc/${pid}/fd`).sort().join();
    await within(() => descriptors() === '0,1,2').catch(() => assert.equal(descriptors(), '0,1,2'));
    assert.match(readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max open files\s+1024\s+(\d+)\s/m);
    assert.equal(readlinkSync(`/proc/${pid}/cwd`), '/usr');
    assert.equal(readFileSync(`/proc/${pid}/environ`, 'utf8'), 'PATH=/usr/bin:/bin\0');
    const own = readFileSync('/proc/self/limits', 'utf8');
    assert.doesNotMatch(own, /^Max open files\s+1024\s/m, 'the daemon keeps its own limit');
    assert.deepEqual(processes.reference(pid), child.process);
    assert.equal(processes.signal(child.process, 9), true);
    assert.deepEqual(await child.exited, { code: 137, signal: 9 });
    assert.equal(processes.alive(child.process), false);
    assert.equal(processes.reference(pid), undefined);
    assert.equal(processes.signal(child.process, 9), false);
  } finally {
    processes.signal(child.process, 9);
    closeSync(stray);
    process.removeAllListeners('SIGUSR2');
  }
});

test('a stream socket is one descriptor for both directions, and ends with the child', async () => {
  const child = await processes.spawn({
    argv: ['sh', '-c', 'head -n 1 <&3 >&3'],
    env,
    extra: { 3: 'socket' },
  });
  const socket = child.extra[3] as Duplex;
  socket.write('there and back\n');
  assert.equal(await text(socket), 'there and back\n');
  assert.equal((await child.exited).code, 0);
  socket.destroy();
});

test('extra descriptors arrive at their numbers, in both directions, also where numbers collide', async () => {
  const file = openSync('/proc/self/cmdline', 'r');
  const script = 'cat <&7 >&5; ls -l /proc/$$/fd >&4; exec 5>&-';
  const child = await processes.spawn({
    argv: ['/bin/sh', '-c', script],
    env,
    extra: { 4: 'read', 5: 'read', 7: 'write', 6: { fd: file } },
  });
  closeSync(file);
  (child.extra[7] as Writable).end('through');
  const [four, five] = await Promise.all([4, 5].map((n) => text(child.extra[n] as Readable)));
  assert.equal(five, 'through');
  const open = [...(four ?? '').matchAll(/ (\d+) -> (\S+)/g)].filter(([, n]) => Number(n) < 10);
  assert.deepEqual(open.map(([, n]) => n).sort(), ['0', '1', '2', '4', '5', '6', '7']);
  assert.deepEqual(await child.exited, { code: 0, signal: undefined });
});

test('run feeds input, caps output, reports codes and signals', async () => {
  const echo = await processes.run({ argv: ['cat'], env, input: 'hello' }, soon());
  assert.deepEqual([echo.stdout.toString(), echo.stderr.length, echo.status.code], ['hello', 0, 0]);
  const flood = await processes.run(
    { argv: ['sh', '-c', 'head -c 3000000 /dev/zero; exit 3'], env, limit: 1000 },
    soon(),
  );
  assert.deepEqual([flood.stdout.length, flood.status.code], [1000, 3]);
  const deaf = await processes.run({ argv: ['true'], env, input: Buffer.alloc(1 << 20) }, soon());
  assert.equal(deaf.status.code, 0);
  const shot = await processes.run({ argv: ['sh', '-c', 'kill -15 $$'], env }, soon());
  assert.deepEqual(shot.status, { code: 143, signal: 15 });
});

test('run ends at the abort with its process group, and does not wait for a grandchild that holds the pipes', async () => {
  const abort = new AbortController();
  const long = `1000.${process.pid}`; // no other run's
  const script = `sleep ${long} & wait`;
  const child = processes.run({ argv: ['sh', '-c', script], env }, abort.signal);
  await within(() => readdirSync('/proc').some((pid) => cmdline(pid) === `sleep\0${long}\0`));
  abort.abort();
  await assert.rejects(child, (error) => hasCode(error, 'Cancelled'));
  await within(() => !readdirSync('/proc').some((pid) => cmdline(pid) === `sleep\0${long}\0`));
  const left = await processes.run({ argv: ['sh', '-c', 'setsid sleep 1001 & echo $!'], env }, soon());
  const reference = processes.reference(Number(left.stdout.toString()));
  assert.ok(reference, 'the grandchild lives on');
  processes.signal(reference, 9);
});

function cmdline(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

test('what cannot be started is named and leaves no descriptor', async () => {
  const before = readdirSync('/proc/self/fd').length;
  const missing = processes.spawn({
    argv: ['/no/such'],
    env,
    stdin: 'pipe',
    stdout: 'pipe',
    extra: { 3: 'read' },
  });
  await assert.rejects(missing, (error) => hasCode(error, 'NotFound') && error.message.includes('/no/such'));
  const nowhere = processes.spawn({ argv: ['true'], env, cwd: '/no/dir' });
  await assert.rejects(nowhere, (error) => hasCode(error, 'NotFound') && error.message.includes('/no/dir'));
  await assert.rejects(processes.spawn({ argv: ['/etc'], env }), (error) => hasCode(error, 'KernelRefused'));
  await assert.rejects(processes.spawn({ argv: ['true', 'a\0b'], env }), (e) =>
    hasCode(e, 'InvalidArgument'),
  );
  assert.equal(readdirSync('/proc/self/fd').length, before);
});

test('a thousand spawns leave descriptors, zombies and memory flat, and other children alone', async () => {
  const other = nodeSpawn('sh', ['-c', 'sleep 0.2; exit 7']);
  const round = async (n: number) => {
    for (let i = 0; i < n; i++) {
      const { status } = await processes.run({ argv: ['true'], env }, soon());
      assert.equal(status.code, 0);
    }
    globalThis.gc?.();
    return process.memoryUsage().rss;
  };
  await round(100);
  const before = readdirSync('/proc/self/fd').length;
  const rss = await round(450);
  const later = await round(450);
  assert.ok(later - rss < 24 << 20, `memory grew by ${later - rss} bytes`);
  assert.ok(readdirSync('/proc/self/fd').length <= before);
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean);
  assert.ok(
    children.every((pid) => Number(pid) === other.pid),
    `children left: ${children}`,
  );
  if (other.exitCode === null) await once(other, 'exit');
  assert.equal(other.exitCode, 7);
});

test('a recycled pid is never touched', async () => {
  const child = await processes.spawn({ argv: ['sleep', '100'], env });
  const stale = { ...child.process, startTime: `${BigInt(child.process.startTime) - 1n}` };
  assert.equal(processes.signal(stale, 9), false);
  assert.equal(processes.signal({ ...child.process, bootId: 'another' }, 9), false);
  assert.equal(processes.alive(child.process), true);
  assert.equal(processes.setOomScoreAdj(child.process.pid, 500), 500);
  assert.equal(processes.setOomScoreAdj(child.process.pid, -2000), processes.minOomScoreAdj);
  processes.signal(child.process, 9);
  await child.exited;
  assert.throws(
    () => processes.setOomScoreAdj(child.process.pid, 0),
    (error) => hasCode(error, 'NotFound'),
  );
});

test('a daemon that ends while its children end does so in good order', async () => {
  const script = fileURLToPath(new URL('./exit-child.ts', import.meta.url));
  const daemon = nodeSpawn(process.execPath, [script], { stdio: ['ignore', 'inherit', 'inherit'] });
  assert.deepEqual(await once(daemon, 'exit'), [7, null]);
});

test('the end of a process is reported to its holder, though another process is its parent', async (t) => {
  // The shell in between is the parent of what is held, and reaps one of the two.
  for (const [script, status] of [
    ['sh -c "read line; exit 7" <&3 & echo $!; wait', { code: 7, signal: undefined }],
    ['sh -c "read line; kill -9 \\$\\$" <&3 & echo $!; exec sleep 1000', { code: 137, signal: 9 }],
  ] as const) {
    const parent = await processes.spawn({
      argv: ['/bin/sh', '-c', script],
      env,
      stdout: 'pipe',
      extra: { 3: 'write' },
    });
    assert.ok(parent.stdout);
    const [output] = await once(parent.stdout, 'data');
    const child = processes.reference(Number(output));
    assert.ok(child);
    using held = processes.hold(child);
    if (!held) return t.skip('this kernel does not report exit codes by pidfd');
    assert.equal(held.status(), undefined);
    (parent.extra[3] as Writable).end('\n');
    while (!held.status()) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(held.status(), status);
    processes.signal(parent.process, 9);
    await parent.exited;
    parent.stdout.destroy();
  }
});
