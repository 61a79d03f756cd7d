/**
 * The end of a process that is another's child: a pidfd outlives the process, and since Linux 6.15 its holders
 * can read the exit code (PIDFD_GET_INFO with PIDFD_INFO_EXIT, include/uapi/linux/pidfd.h).
 */
import { closeSync } from 'node:fs';
import { control, pidfdOpen } from '../libc/libc.ts';
import type { HeldProcess, ProcessRef } from '../ports/kernel.ts';
import { decodeStatus } from './child.ts';
import { isAlive, readStat } from './identity.ts';

/** _IOWR(0xFF, 11, struct pidfd_info) with the struct's first size. */
const PIDFD_GET_INFO = 0xc040_ff0b;
const INFO_BYTES = 64;
const PIDFD_INFO_EXIT = 8n;
const EXIT_CODE_AT = 60;

/** See `Processes.hold`. */
export function hold(process: ProcessRef, bootId: string): HeldProcess | undefined {
  const pidfd = pidfdOpen(process.pid);
  if (pidfd < 0) return undefined;
  // Checked after the open: from then on the pidfd refers to the one process. Older kernels have no such request.
  if (!isAlive(process, bootId) || readInfo(pidfd) === undefined) {
    closeSync(pidfd);
    return undefined;
  }
  let open = true;
  return {
    status: () => {
      const info = open ? readInfo(pidfd) : undefined;
      if (info && (info.readBigUInt64LE(0) & PIDFD_INFO_EXIT) !== 0n)
        return decodeStatus(info.readInt32LE(EXIT_CODE_AT));
      // Until its parent reaps it, it is a zombie.
      const stat = readStat(process.pid);
      return stat?.state === 'Z' && stat.startTime === process.startTime
        ? decodeStatus(stat.exitCode)
        : undefined;
    },
    [Symbol.dispose]() {
      if (open) closeSync(pidfd);
      open = false;
    },
  };
}

/** The struct pidfd_info; undefined where the kernel does not support the request. */
function readInfo(pidfd: number): Buffer | undefined {
  const info = Buffer.alloc(INFO_BYTES);
  info.writeBigUInt64LE(PIDFD_INFO_EXIT, 0);
  return control(pidfd, PIDFD_GET_INFO, info) === 0 ? info : undefined;
}
