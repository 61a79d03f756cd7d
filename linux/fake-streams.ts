import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { refused } from './errno.ts';
import type { Streams, Terminal } from './streams.ts';

/** Nothing to connect to, and no terminals left. */
export class FakeStreams implements Streams {
  openTerminal(): Terminal {
    throw refused('open /dev/ptmx', 'ENOSPC');
  }

  async connectPackets(path: string): Promise<Duplex> {
    throw refused(`connect to ${path}`, 'ENOENT');
  }

  async connectPort(_netns: string | undefined, port: number): Promise<Socket> {
    throw refused(`connect to port ${port}`, 'ECONNREFUSED');
  }
}
