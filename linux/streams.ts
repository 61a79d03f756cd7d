/** Descriptors that carry bytes to and from a container: terminals, conmon's attach sockets, ports of a pod. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** A pseudo terminal. Its own line discipline is off: the one inside the container does the work. */
export interface Terminal {
  /** The master's side. It ends when the last holder of the other side has closed it. */
  readonly stream: Duplex;
  /** Path of the other side, to be opened by a child: `{ path }` as a descriptor of `Processes.spawn`. */
  readonly path: string;
  /** Columns and rows, each from 1 to 65535; whoever holds the other side gets SIGWINCH. None after the end. */
  resize(columns: number, rows: number): void;
}

export interface Streams {
  /** Opens a new pseudo terminal; destroying its stream closes it. */
  openTerminal(): Terminal;
  /**
   * Connects to a unix socket of type SOCK_SEQPACKET. Each packet is one object read, and each chunk that is written is
   * cut into packets of at most 8 KiB. Ending it shuts down the writing side alone.
   */
  connectPackets(path: string): Promise<Duplex>;
  /**
   * Connects to a TCP port of localhost, IPv4 first, then IPv6; `netns` is the path of a pinned network namespace,
   * undefined the daemon's own. Half-open is allowed. Throws Unavailable where nobody listens.
   */
  connectPort(netns: string | undefined, port: number, signal: AbortSignal): Promise<Socket>;
}
