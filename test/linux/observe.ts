import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { fcntl } from '#linux/libc/libc.ts';

export const silent = { warn() {} };

/** The program that enters cgroups for those that it becomes. */
export const launcher = { path: fileURLToPath(new URL('../../linux/shim/build/pause', import.meta.url)) };

/** The fields of /proc/PID/status. */
export function statusOf(pid: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').split('\n');
  return Object.fromEntries(
    lines.map((line) => [line.split(':\t')[0] ?? '', line.split(':\t')[1]?.trim() ?? '']),
  );
}

/** A descriptor above 500 that a program executed would inherit. The caller closes it. */
export const strayDescriptor = (): number => fcntl(0, 0, 500);

/** Waits until the condition holds; fails the test where it does not within ten seconds. */
export async function within(condition: () => boolean): Promise<void> {
  for (let n = 0; n < 500; n++) {
    if (condition()) return;
    await sleep(20);
  }
  throw new Error(`not within ten seconds: ${condition}`);
}
