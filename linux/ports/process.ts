/** Types of processes that the ports share. */
import type { Duplex, Readable, Writable } from 'node:stream';

export interface ProcessRef {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot, as text. */
  readonly startTime: string;
  /** /proc/sys/kernel/random/boot_id. */
  readonly bootId: string;
}

export type StdioIn = 'null' | 'pipe' | { readonly fd: number };

export interface SpawnRequest {
  /** argv[0] is an absolute path or looked up in PATH of the daemon. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: StdioIn;
  readonly stdout?: StdioIn;
  readonly stderr?: StdioIn;
  /**
   * More descriptors of the child, by their number in it (3 …): a pipe the parent reads, or one that it writes, or a stream
   * socket for both.
   */
  readonly extra?: Readonly<Record<number, 'read' | 'write' | 'socket' | { readonly fd: number }>>;
  /** See `Cgroups.joinFiles`: the child joins these groups before the program, an absolute path, is executed. */
  readonly joinFiles?: readonly string[];
}

export interface ExitStatus {
  /** Exit code, or 128 + signal. */
  readonly code: number;
  readonly signal: number | undefined;
}

export interface Child {
  readonly process: ProcessRef;
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /** The parent's ends of `extra`, by the number in the child. */
  readonly extra: Readonly<Record<number, Duplex | Readable | Writable>>;
  /** Settles when the child has been reaped. Never rejects. */
  readonly exited: Promise<ExitStatus>;
}
