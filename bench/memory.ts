/** Memory of a daemon and the processes that it starts, sampled while something runs. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';

/** A size of /proc/PID/FILE in MiB. Throws Internal where the process or the line is missing. */
export function memoryOf(
  pid: number,
  file: 'status' | 'smaps_rollup',
  key: 'VmRSS' | 'VmHWM' | 'Pss',
): number {
  const match = new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/${file}`, 'utf8'));
  if (match) return Number(match[1]) / 1024;
  throw new CrispError('Internal', `/proc/${pid}/${file} has no ${key}`, { hint: 'has the process ended?' });
}

/** MiB. */
export interface Memory {
  readonly rss: number;
  readonly pss: number;
}

/** Between two samples; reading a PSS walks the page tables of the process. */
const INTERVAL_MS = 200;

/** The process and what it and its threads have started: the kernel lists children with the thread that forked. */
export function processTree(pid: number): number[] {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    return [pid, ...threads.flatMap((thread) => childrenOf(pid, thread)).flatMap(processTree)];
  } catch {
    return [];
  }
}

function childrenOf(pid: number, thread: string): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').trim();
    return children.split(' ').filter(Boolean).map(Number);
  } catch {
    return []; // the thread has ended
  }
}

/** The sum; a process that ends meanwhile counts nothing. */
export function memoryOfTree(pid: number): Memory {
  let rss = 0;
  let pss = 0;
  for (const member of processTree(pid)) {
    try {
      const own = memoryOf(member, 'smaps_rollup', 'Pss');
      rss += memoryOf(member, 'status', 'VmRSS');
      pss += own;
    } catch {
      // It has ended.
    }
  }
  return { rss, pss };
}

/** The highest of each, until the work ends. Rejects as the work does. */
export async function peakDuring(pid: number, work: Promise<unknown>): Promise<Memory> {
  let isRunning = true;
  const ended = work.finally(() => {
    isRunning = false;
  });
  ended.catch(() => {}); // thrown below
  let peak: Memory = { rss: 0, pss: 0 };
  while (isRunning) {
    const { rss, pss } = memoryOfTree(pid);
    peak = { rss: Math.max(peak.rss, rss), pss: Math.max(peak.pss, pss) };
    await Promise.race([ended, sleep(INTERVAL_MS)]);
  }
  await ended;
  return peak;
}
