import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { refused } from './errno.ts';
import type { ProcessRef } from './kernel.ts';
import type { AttendedCommand, AttendRequest, Streams } from './streams.ts';

/** Nothing to connect to, and nothing to execute. */
export class FakeStreams implements Streams {
  async attend({ argv }: AttendRequest): Promise<AttendedCommand> {
    throw refused(`start ${argv[0]}`, 'ENOENT');
  }

  attendants(): ProcessRef[] {
    return [];
  }

  async connectPackets(path: string): Promise<Duplex> {
    throw refused(`connect to ${path}`, 'ENOENT');
  }

  async connectPort(_netns: string | undefined, port: number): Promise<Socket> {
    throw refused(`connect to port ${port}`, 'ECONNREFUSED');
  }
}
