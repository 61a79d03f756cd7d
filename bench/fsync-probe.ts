/**
 * Another process that writes: it appends 4 KiB and calls fdatasync, again and again, as a database on the node does. Run as a
 * program it does that with its argument, a file, until SIGTERM, and prints how long each fdatasync took, in ms.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fdatasync as fdatasyncWithCallback, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { CrispError } from '#core/errors.ts';
import { quantile } from './statistics.ts';

const fdatasync = promisify(fdatasyncWithCallback);

/** Between the end of one and the next write. */
const PAUSE_MS = 2;
const BLOCK = Buffer.alloc(4096, 'x');
/** The file begins anew at this size, so that it stays small. */
const MOST_BLOCKS = 4096;

/** The 99th percentile of a writer's fdatasync in the directory while `work` runs, in ms. Rejects as the work does. */
export async function fsyncP99During(directory: string, work: () => Promise<unknown>): Promise<number> {
  const file = join(directory, 'fsync-probe');
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', import.meta.filename, file],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const exited = once(child, 'exit');
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  try {
    await once(child.stdout, 'data'); // its first line: it writes
    chunks.length = 0;
    await work();
  } finally {
    child.kill('SIGTERM');
    await exited;
    rmSync(file, { force: true });
  }
  const latencies = Buffer.concat(chunks).toString().split('\n').filter(Boolean).map(Number);
  if (latencies.length > 0) return quantile(latencies, 0.99);
  throw new CrispError('Internal', `${file}: not one fdatasync has ended`, { hint: 'is the disk stuck?' });
}

async function write(file: string): Promise<void> {
  const fd = openSync(file, 'w', 0o600);
  const latencies: number[] = [];
  let isOver = false;
  process.once('SIGTERM', () => {
    isOver = true;
  });
  process.stdout.write('writing\n');
  for (let block = 0; !isOver; block++) {
    writeSync(fd, BLOCK, 0, BLOCK.length, (block % MOST_BLOCKS) * BLOCK.length);
    const started = performance.now();
    await fdatasync(fd);
    latencies.push(performance.now() - started);
    await sleep(PAUSE_MS);
  }
  process.stdout.write(`${latencies.map((latency) => latency.toFixed(3)).join('\n')}\n`);
}

if (import.meta.main) await write(process.argv[2] ?? '');
