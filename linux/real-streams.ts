import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { throwIfAborted } from './abort.ts';
import { beginConnection } from './begin-connection.ts';
import { connectPackets, connectPort } from './connect.ts';
import type { Streams, Terminal } from './streams.ts';
import { openTerminal } from './terminal.ts';
import type { VisitingThread } from './visiting-thread.ts';

/** The real streams; sockets inside of pods are made by the thread that visits namespaces. */
export class RealStreams implements Streams {
  readonly #thread: VisitingThread;

  constructor(thread: VisitingThread) {
    this.#thread = thread;
  }

  openTerminal(): Terminal {
    return openTerminal();
  }

  async connectPackets(path: string): Promise<Duplex> {
    return connectPackets(path);
  }

  async connectPort(netns: string | undefined, port: number, signal: AbortSignal): Promise<Socket> {
    throwIfAborted(signal, `connect to port ${port}`);
    if (netns === undefined)
      return connectPort(async (family) => beginConnection(family, port), port, signal);
    const begin = (family: 4 | 6) => this.#thread.ask({ act: 'connect', netns, family, port });
    return connectPort(begin, port, signal);
  }
}
