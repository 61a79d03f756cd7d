import { exitGroup } from '../libc/libc.ts';

/**
 * Ends the process at once. Node's own exit waits for its threads, and one inside of a system call that does not return
 * would keep the daemon, and with it the locks of its directories, for ever. Buffered log lines must be written
 * before.
 */
export const exitNow = (code: number): void => void exitGroup(code);
