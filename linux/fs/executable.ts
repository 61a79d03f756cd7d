/** What execve(2) would execute: access(2) alone also takes directories, which can be searched. */
import { accessSync, constants, statSync } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { CrispError } from '#core/errors.ts';

/** Throws the error of access(2) or stat(2), and FailedPrecondition where it is no regular file. */
export async function checkExecutable(path: string): Promise<void> {
  await access(path, constants.X_OK);
  if (!(await stat(path)).isFile()) throw notRegular(path);
}

/** The same, for who cannot wait. */
export function checkExecutableSync(path: string): void {
  accessSync(path, constants.X_OK);
  if (!statSync(path).isFile()) throw notRegular(path);
}

/** Whether it is an executable regular file. Never rejects. */
export const isExecutable = (path: string): Promise<boolean> =>
  checkExecutable(path).then(
    () => true,
    () => false,
  );

const notRegular = (path: string): CrispError =>
  new CrispError('FailedPrecondition', `${path} is not a regular file`, {
    hint: 'give the path of the program itself',
  });
