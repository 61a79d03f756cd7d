import { spawnSync } from 'node:child_process';
import { CrispError } from '#core/errors.ts';

/** Runs a packaging tool. `date` becomes SOURCE_DATE_EPOCH. Throws FailedPrecondition where it is missing, Internal where it fails. */
export function runTool(command: string, args: readonly string[], date: number, debian: string): void {
  const environment = {
    PATH: process.env['PATH'],
    SOURCE_DATE_EPOCH: String(date),
    LC_ALL: 'C.UTF-8',
    TZ: 'UTC',
    HOME: '/nonexistent',
  };
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', env: environment });
  if (status === 0) return;
  if (error && 'code' in error && error.code === 'ENOENT')
    throw new CrispError('FailedPrecondition', `${command} is not installed`, {
      hint: `Debian: apt-get install ${debian}`,
    });
  throw new CrispError(
    'Internal',
    `${command}: ${error?.message ?? `${stdout}${stderr}`.trim().slice(-1000)}`,
  );
}
