import { existsSync } from 'node:fs';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { abandoned, throwIfAborted } from '../libc/abort.ts';
import { naming } from '../libc/errno.ts';
import { checkRequest } from '../namespace/pause-request.ts';
import type { HeldPause, NamespaceKind, Namespaces, PauseRequest, ProcessRef } from '../ports/kernel.ts';
import type { FakeMounts } from './mounts.ts';
import type { FakeProcesses } from './processes.ts';

/** Namespaces in memory; pins are real empty files, mounted on in the fake's own table. */
export class FakeNamespaces implements Namespaces {
  readonly #processes: FakeProcesses;
  readonly #mounts: FakeMounts;
  /** All that `hold` was asked for. */
  readonly requests: PauseRequest[] = [];

  constructor(processes: FakeProcesses, mounts: FakeMounts) {
    this.#processes = processes;
    this.#mounts = mounts;
  }

  async hold(request: PauseRequest, signal: AbortSignal): Promise<HeldPause> {
    checkRequest(request);
    throwIfAborted(signal, 'hold the namespaces');
    this.requests.push(request);
    await this.unpin(request.pins);
    const pins: Partial<Record<NamespaceKind, string>> = {};
    for (const kind of request.kinds) {
      const path = join(request.pins, kind);
      await this.pinEmptyNetwork(path);
      pins[kind] = path;
    }
    const { process } = this.#processes.begin();
    return {
      process,
      pins,
      joinsCgroups: false,
      release: async () => {},
      abandon: async () => void this.#processes.signal(process, 9),
    };
  }

  async unpin(pins: string): Promise<void> {
    if (!existsSync(pins)) return;
    for (const name of await readdir(pins)) {
      if (!/^(net|ipc|uts|pid|user)$/.test(name)) continue;
      await this.#mounts.unmount(join(pins, name));
      await rm(join(pins, name), { force: true });
    }
  }

  async watch(process: ProcessRef, signal: AbortSignal): Promise<void> {
    const what = `watch process ${process.pid}`;
    throwIfAborted(signal, what);
    const { promise, reject } = Promise.withResolvers<void>();
    const onAbort = () => reject(abandoned(what, signal));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.race([this.#processes.ended(process), promise]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async pinEmptyNetwork(path: string): Promise<void> {
    await naming(`make the pin ${path}`, () => writeFile(path, ''));
    await this.#mounts.bind({ source: path, target: path });
  }
}
