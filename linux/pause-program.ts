import { closeSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { CrispError } from '#core/errors.ts';
import { check, errnoName, refused } from './errno.ts';
import { fcntl, lastErrno, memfdCreate } from './libc.ts';

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const MFD_EXEC = 16;
const F_ADD_SEALS = 1033;
/** Sealed for ever against writing, growing, shrinking and further seals. */
const ALL_SEALS = 0b1111;

/**
 * The pause program in a sealed memory file. It is executed from there and not from the host's file, so that
 * /proc/1/exe of a shared pid namespace leads to nothing of the host, and nobody can change the program.
 */
export class PauseProgram implements Disposable {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  static async load(path: string): Promise<PauseProgram> {
    let program: Buffer;
    try {
      program = await readFile(path);
    } catch (error) {
      throw new CrispError('FailedPrecondition', `the pause program ${path} cannot be read`, {
        cause: error,
        hint: 'build it: npm run setup',
      });
    }
    const fd = makeMemoryFile();
    for (let at = 0; at < program.length; ) at += writeSync(fd, program, at);
    check(fcntl(fd, F_ADD_SEALS, ALL_SEALS), 'seal the pause program');
    return new PauseProgram(fd);
  }

  /** Where it is executed from, by processes of the daemon's pid namespace. */
  get path(): string {
    return `/proc/${process.pid}/fd/${this.#fd}`;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** Since Linux 6.3 a memory file says whether it may be executed; earlier kernels do not know the flag. */
function makeMemoryFile(): number {
  const fd = memfdCreate('crisp-pause', MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  if (fd >= 0) return fd;
  const errno = lastErrno();
  if (errnoName(errno) !== 'EINVAL') {
    throw refused('make a memory file for the pause program', errno, 'is vm.memfd_noexec 2?');
  }
  return check(memfdCreate('crisp-pause', MFD_CLOEXEC | MFD_ALLOW_SEALING), 'make a memory file');
}
