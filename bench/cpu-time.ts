/** CPU time of processes, from /proc. */
import { readFileSync } from 'node:fs';

/** Of /proc/PID/stat, in each second: the same on every Linux (USER_HZ). */
const TICKS = 100;

/** In ms, of the process with its threads, and of its children that have ended and been waited for. Throws where it has ended. */
export const cpuMs = (pid: number): number => cpuMsOf(readFileSync(`/proc/${pid}/stat`, 'latin1'));

/** From the text of /proc/PID/stat (proc(5)): utime, stime, cutime and cstime. The name in it may hold spaces. */
export function cpuMsOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = fields.slice(11, 15).map(Number);
  return (ticks.reduce((sum, count) => sum + count, 0) * 1000) / TICKS;
}
