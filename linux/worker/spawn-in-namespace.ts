/** A program in a network namespace of its own, which lives as long as the program or the socket. Synchronous. */
import { closeSync, writeSync } from 'node:fs';
import { kill, waitpid } from '../libc/libc.ts';
import type { NamespaceThread } from '../namespace/setns.ts';
import { NETLINK_NETFILTER, openNetlink } from '../net/netlink.ts';
import { makePipe, spawnProcess } from '../process/spawn.ts';

const SIGKILL = 9;

export interface NamespaceSpawnRequest {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** At most what a pipe holds. */
  readonly input: string;
}

export interface NamespaceSpawn {
  /** To be reaped by the caller. */
  readonly pid: number;
  /** To the packet filter of that namespace. */
  readonly socket: number;
}

export function spawnInNamespace(
  thread: NamespaceThread,
  { argv, env, input }: NamespaceSpawnRequest,
): NamespaceSpawn {
  const { read, write } = makePipe();
  let made: NamespaceSpawn | undefined;
  try {
    try {
      writeSync(write, input);
    } finally {
      closeSync(write);
    }
    return thread.inNewNamespaces(['net'], () => {
      const socket = openNetlink(NETLINK_NETFILTER);
      try {
        const descriptors = new Map<number, number | 'null'>([
          [0, read],
          [1, 'null'],
          [2, 'null'],
        ]);
        made = { pid: spawnProcess({ program: argv[0] ?? '', argv, env, descriptors }), socket };
        return made;
      } catch (error) {
        closeSync(socket);
        throw error;
      }
    });
  } catch (error) {
    // The thread cannot return to the host's namespace: its caller gets an error and not the child.
    if (made) discard(made);
    throw error;
  } finally {
    closeSync(read);
  }
}

function discard({ pid, socket }: NamespaceSpawn): void {
  closeSync(socket);
  kill(pid, SIGKILL);
  waitpid(pid, new Int32Array(1), 0);
}
