import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { refused } from '../libc/errno.ts';
import type { ProcessRef } from '../ports/kernel.ts';
import type { DetachedCommand, DetachedRequest, Streams } from '../ports/streams.ts';

/** Nothing to connect to, and nothing to execute. */
export class FakeStreams implements Streams {
  async runDetached({ argv }: DetachedRequest): Promise<DetachedCommand> {
    throw refused(`start ${argv[0]}`, 'ENOENT');
  }

  execShims(): ProcessRef[] {
    return [];
  }

  async connectPackets(path: string): Promise<Duplex> {
    throw refused(`connect to ${path}`, 'ENOENT');
  }

  async connectPort(_netns: string | undefined, port: number): Promise<Socket> {
    throw refused(`connect to port ${port}`, 'ECONNREFUSED');
  }
}
