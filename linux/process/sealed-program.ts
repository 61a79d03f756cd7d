import { closeSync, writeSync } from 'node:fs';
import { check, errnoName, refused } from '../libc/errno.ts';
import { fcntl, lastErrno, memfdCreate } from '../libc/libc.ts';

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const MFD_EXEC = 16;
const F_ADD_SEALS = 1033;
/** Sealed for ever against writing, growing, shrinking and further seals. */
const ALL_SEALS = 0b1111;

/**
 * A program in a sealed memory file. The /proc/PID/exe of its processes leads to nothing of the host, and it
 * cannot be changed.
 */
export class SealedProgram implements Disposable {
  readonly #fd: number;

  /** `name` is for /proc/PID/maps. Throws KernelRefused where the kernel executes no memory files. */
  constructor(name: string, program: Uint8Array) {
    this.#fd = makeMemoryFile(name);
    try {
      for (let at = 0; at < program.length; ) at += writeSync(this.#fd, program, at);
      check(fcntl(this.#fd, F_ADD_SEALS, ALL_SEALS), `seal the program ${name}`);
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  /** Where it is executed from, by processes of the daemon's pid namespace. */
  get path(): string {
    return `/proc/${process.pid}/fd/${this.#fd}`;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** Since Linux 6.3 a flag permits a memory file to be executed; earlier kernels do not know it. */
function makeMemoryFile(name: string): number {
  const fd = memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  if (fd >= 0) return fd;
  const errno = lastErrno();
  if (errnoName(errno) !== 'EINVAL') {
    throw refused(`make a memory file for the program ${name}`, errno, 'is vm.memfd_noexec 2?');
  }
  return check(memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), 'make a memory file');
}
