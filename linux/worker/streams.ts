import type { OnReadOpts, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { beginConnection } from '../io/begin-connection.ts';
import { connectPackets, connectPort } from '../io/connect.ts';
import { throwIfAborted } from '../libc/abort.ts';
import type { Processes, ProcessRef } from '../ports/kernel.ts';
import type { DetachedCommand, DetachedRequest, Streams } from '../ports/streams.ts';
import { execShims, runDetached } from '../process/exec-shim.ts';
import { readBootId } from '../process/identity.ts';
import type { NamespaceWorker } from './thread.ts';

/** The real streams; sockets inside of pods are made by the namespace worker. */
export class RealStreams implements Streams {
  readonly #thread: NamespaceWorker;
  readonly #program: { readonly path: string };
  readonly #spawn: Processes['spawn'];

  /** `program`: the pause program, which has the exec shim. */
  constructor(thread: NamespaceWorker, program: { readonly path: string }, spawn: Processes['spawn']) {
    this.#thread = thread;
    this.#program = program;
    this.#spawn = spawn;
  }

  runDetached(request: DetachedRequest): Promise<DetachedCommand> {
    return runDetached(this.#spawn, this.#program.path, request);
  }

  execShims(pidFile: string): ProcessRef[] {
    return execShims(pidFile, readBootId());
  }

  async connectPackets(path: string): Promise<Duplex> {
    return connectPackets(path);
  }

  async connectPort(
    netns: string | undefined,
    port: number,
    signal: AbortSignal,
    onread?: OnReadOpts,
  ): Promise<Socket> {
    throwIfAborted(signal, `connect to port ${port}`);
    if (netns === undefined)
      return connectPort(async (family) => beginConnection(family, port), port, signal, onread);
    const begin = (family: 4 | 6) => this.#thread.request({ act: 'connect', netns, family, port });
    return connectPort(begin, port, signal, onread);
  }
}
