/** Descriptors that carry bytes to and from a container: terminals, conmon's attach sockets, ports of a pod. */
import type { OnReadOpts, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Child, ProcessRef, StdioIn } from './process.ts';

/** A pseudo terminal, seen from its master. */
export interface Terminal {
  /** It ends when the last holder of the other side has closed it; destroying it hangs the terminal up. */
  readonly stream: Duplex;
  /** Columns and rows, each from 1 to 65535; those in the foreground get SIGWINCH. None after the end. */
  resize(columns: number, rows: number): void;
}

export interface DetachedRequest {
  /** The OCI runtime, by its absolute path, in its detached form: with the pid file and, for a terminal, the socket. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** As in SpawnRequest. */
  readonly joinFiles?: readonly string[];
  /** Where it runs, so that names of sockets are short. */
  readonly directory: string;
  /** Where the runtime writes the command's pid. */
  readonly pidFile: string;
  /** Name in the directory of the socket on which the runtime hands over a terminal; undefined: the command has none. */
  readonly terminal: string | undefined;
  /** The command's own descriptors, where it has no terminal. */
  readonly stdio: { readonly stdin: StdioIn; readonly stdout: StdioIn; readonly stderr: StdioIn };
}

export interface DetachedCommand {
  /**
   * The exec shim: exits with the command's exit code, or the runtime's where that fails. At SIGTERM it kills the running
   * runtime and the command, and exits with 137 when both are gone; what the command has forked is found by its cgroup.
   */
  readonly child: Child;
  /**
   * The terminal, once the runtime has handed it over; undefined where none was requested, and where the runtime has
   * failed. To be called once. Rejects at the abort: then the command has lost its terminal, and must be killed.
   */
  terminal(signal: AbortSignal): Promise<Terminal | undefined>;
}

export interface Streams {
  /**
   * Executes a command in a container: its descriptors are the client's pipes themselves, or its terminal's master is
   * handed over. Resolves when the runtime has begun, within seconds, and takes no signal: the caller always gets the
   * child that it has to end. With a terminal the caller destroys its stream.
   */
  runDetached(request: DetachedRequest): Promise<DetachedCommand>;
  /** The running exec shims, of this daemon or an earlier one, by the pid file of their request. */
  execShims(pidFile: string): ProcessRef[];
  /**
   * Connects to a unix socket of type SOCK_SEQPACKET. Each packet is one object read, and each chunk that is written is
   * cut into packets of at most 8 KiB. Ending it shuts down the writing side alone.
   */
  connectPackets(path: string): Promise<Duplex>;
  /**
   * Connects to a TCP port of localhost, IPv4 first, then IPv6; `netns` is the path of a pinned network namespace,
   * undefined the daemon's own. Half-open is allowed. `onread`: a read buffer in place of events. Throws
   * Unavailable where the connection is refused.
   */
  connectPort(
    netns: string | undefined,
    port: number,
    signal: AbortSignal,
    onread?: OnReadOpts,
  ): Promise<Socket>;
}
