/**
 * What makes several descriptors, with ever fewer of them free. Prints what was leaked: descriptors, or children that
 * live or were not reaped.
 */
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectPackets } from '#linux/io/connect.ts';
import { getrlimit, setrlimit } from '#linux/libc/libc.ts';
import { PauseProcess } from '#linux/namespace/pause-process.ts';
import { ProcessWatches } from '#linux/process/child.ts';
import { readBootId } from '#linux/process/identity.ts';
import { RealProcesses } from '#linux/process/processes.ts';

const RLIMIT_NOFILE = 7;
const LIMIT = 200n;
const hard = new BigUint64Array(2);
getrlimit(RLIMIT_NOFILE, hard);

const [socketPath = ''] = process.argv.slice(2);
const watches = new ProcessWatches(readBootId());
const log = { warn: () => {} };
const processes = new RealProcesses(watches, { path: '/nowhere' }, log);

const acts: Record<string, () => Promise<void>> = {
  spawn: async () => {
    const child = await processes.spawn({
      argv: ['sleep', '0.01'],
      env: { PATH: process.env['PATH'] ?? '' },
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
      extra: { 3: 'read' },
    });
    for (const stream of [child.stdin, child.stdout, child.stderr, child.extra[3]]) stream?.destroy();
    await child.exited;
  },
  pause: async () => PauseProcess.spawn('/bin/cat', ['cat'], watches).abandon(),
  packets: async () => void connectPackets(socketPath).destroy(),
};

const open = () => readdirSync('/proc/self/fd').length;
const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1').trim();

/** Descriptors that node itself keeps once it has needed them. */
for (const act of Object.values(acts)) await act().catch(() => {});
createServer().close();
const leaks: string[] = [];
for (const [name, act] of Object.entries(acts)) {
  for (let free = 0; free < 14; free++) {
    await settled();
    const before = open();
    setrlimit(RLIMIT_NOFILE, new BigUint64Array([LIMIT, hard[1] ?? LIMIT]));
    const filler: number[] = [];
    try {
      for (;;) filler.push(openSync('/proc/self/status', 'r'));
    } catch {
      for (const fd of filler.splice(0, free)) closeSync(fd);
    }
    const outcome = await act().then(
      () => 'done',
      (error) => String(error),
    );
    for (const fd of filler) closeSync(fd);
    setrlimit(RLIMIT_NOFILE, hard);
    await settled();
    if (open() !== before) leaks.push(`${name}, ${free} free: ${open() - before} descriptors (${outcome})`);
    if (children() !== '') leaks.push(`${name}, ${free} free: children ${children()} (${outcome})`);
  }
}
process.stdout.write(`${JSON.stringify(leaks)}\n`);
process.exit(0);

/** Streams close in a later turn; a killed child is reaped after its exit. */
async function settled(): Promise<void> {
  let last = -1;
  for (let n = 0; n < 300 && (children() !== '' || open() !== last); n++) {
    last = open();
    await sleep(10);
  }
}
