/** A program in a network namespace of its own, which lives as long as the program or the socket. Synchronous. */
import { closeSync, writeSync } from 'node:fs';
import type { NamespaceThread } from './namespace-thread.ts';
import { NETLINK_NETFILTER, openNetlink } from './netlink.ts';
import { makePipe, spawnProcess } from './spawn.ts';

export interface ApartRequest {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** At most what a pipe holds. */
  readonly input: string;
}

export interface Apart {
  /** To be reaped by the caller. */
  readonly pid: number;
  /** To the packet filter of that namespace. */
  readonly socket: number;
}

export function spawnApart(thread: NamespaceThread, { argv, env, input }: ApartRequest): Apart {
  const { read, write } = makePipe();
  try {
    writeSync(write, input);
    closeSync(write);
    return thread.inNew(['net'], () => {
      const socket = openNetlink(NETLINK_NETFILTER);
      try {
        const descriptors = new Map<number, number | 'null'>([
          [0, read],
          [1, 'null'],
          [2, 'null'],
        ]);
        return { pid: spawnProcess({ program: argv[0] ?? '', argv, env, descriptors }), socket };
      } catch (error) {
        closeSync(socket);
        throw error;
      }
    });
  } finally {
    closeSync(read);
  }
}
