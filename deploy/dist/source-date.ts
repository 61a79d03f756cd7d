import { spawnSync } from 'node:child_process';
import { CrispError } from '#core/errors.ts';

/** For a tree that is not a clone: 1 January 2020. */
const NO_COMMIT = 1_577_836_800;

/**
 * The time that all files of a build have, in seconds since the epoch: SOURCE_DATE_EPOCH, else the time of the commit, so that two
 * builds of one commit have the same bytes. Throws InvalidArgument where the variable is not a number.
 */
export function sourceDate(project: string): number {
  const given = process.env['SOURCE_DATE_EPOCH'];
  if (given !== undefined && !/^\d{1,10}$/.test(given))
    throw new CrispError('InvalidArgument', `SOURCE_DATE_EPOCH is ${JSON.stringify(given)}`, {
      hint: 'seconds since the epoch, or unset',
    });
  if (given !== undefined) return Number(given);
  // Not that of a repository around this directory.
  const environment = { ...process.env, GIT_CEILING_DIRECTORIES: `${project}/..` };
  const args = ['-C', project, '-c', 'safe.directory=*', 'log', '-1', '--format=%ct'];
  const { status, stdout } = spawnSync('git', args, { encoding: 'utf8', env: environment });
  return status === 0 && stdout.trim() !== '' ? Number(stdout) : NO_COMMIT;
}
