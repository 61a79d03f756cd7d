import { closeSync, constants, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { namingSync, refused } from '../libc/errno.ts';
import { flock, lastErrno } from '../libc/libc.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;
const EAGAIN = 11;

/**
 * Locks a directory for this process: a lock on `<directory>/lock`, which the kernel releases when the process ends,
 * however it ends. Throws FailedPrecondition naming the holder's pid where another process has it.
 */
export function lockDirectory(directory: string): Disposable {
  const path = `${directory}/lock`;
  const fd = namingSync(`open ${path}`, () => openSync(path, 'a+', 0o600)); // Node opens close-on-exec: children do not inherit the lock
  if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
    const errno = lastErrno();
    closeSync(fd);
    const holder = readFileSync(path, 'utf8').trim();
    if (errno !== EAGAIN) throw refused(`lock ${path}`, errno);
    throw new CrispError(
      'FailedPrecondition',
      `${directory} is in use by another daemon (pid ${holder || 'unknown'})`,
      {
        hint: 'stop that daemon, or give this one its own root',
      },
    );
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`);
  return { [Symbol.dispose]: () => closeSync(fd) };
}

/**
 * Takes the lock of a file that other programs lock too, without waiting; undefined where another has it. The file is
 * made where it is missing. The lock ends with the disposal, or with this process.
 */
export function tryLock(path: string, mode: number): Disposable | undefined {
  const fd = namingSync(`open ${path}`, () => openSync(path, constants.O_RDONLY | constants.O_CREAT, mode));
  if (flock(fd, LOCK_EX | LOCK_NB) === 0) return { [Symbol.dispose]: () => closeSync(fd) };
  const errno = lastErrno();
  closeSync(fd);
  if (errno !== EAGAIN) throw refused(`lock ${path}`, errno);
  return undefined;
}
