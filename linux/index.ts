/** The real kernel. */
import { readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { CrispError } from '#core/errors.ts';
import { openCgroups } from './cgroup/open.ts';
import { files } from './fs/files.ts';
import { RealInotify } from './fs/inotify.ts';
import { checkLibrary } from './libc/c-library.ts';
import { naming } from './libc/errno.ts';
import { asynchronous, umount2 } from './libc/libc.ts';
import { mounts } from './mount/mounts.ts';
import type { Inotify } from './ports/inotify.ts';
import type {
  Cgroups,
  Files,
  Kernel,
  Mounts,
  Namespaces,
  NatRules,
  PodLinks,
  Processes,
} from './ports/kernel.ts';
import type { KernelLog } from './ports/log.ts';
import type { Usage } from './ports/stats.ts';
import type { Streams } from './ports/streams.ts';
import type { Trouble } from './ports/troubles.ts';
import { ProcessWatches } from './process/child.ts';
import { readBootId } from './process/identity.ts';
import { RealProcesses } from './process/processes.ts';
import { SealedProgram } from './process/sealed-program.ts';
import { RealSelinux } from './selinux/selinux.ts';
import { Systemd } from './systemd/manager.ts';
import { RealNamespaces } from './worker/namespaces.ts';

export type { KernelLog } from './ports/log.ts';

export interface KernelOptions {
  /** The pause program; by default the one that bin/setup has built. Read once. */
  readonly pauseProgram?: string;
  readonly log?: KernelLog;
  /** For tests: how long one act of a worker may take. */
  readonly workers?: { readonly requestMs: number };
}

const builtPauseProgram = fileURLToPath(new URL('./shim/build/pause', import.meta.url));

/**
 * Opens the kernel. To be called on the main thread before any worker of crisp is started.
 * Throws FailedPrecondition where the pause program, every cgroup hierarchy or a part of the C library is missing.
 */
export async function openKernel(options: KernelOptions = {}): Promise<Kernel> {
  checkLibrary();
  await warmUpThreadPool();
  const watches = new ProcessWatches(readBootId());
  const program = new SealedProgram(
    'crisp-pause',
    await readPause(options.pauseProgram ?? builtPauseProgram),
  );
  const inotify = new RealInotify(options.log ?? { warn() {} });
  try {
    const processes = new RealProcesses(watches, program, options.log ?? { warn() {} });
    const cgroups = openCgroups(inotify);
    const namespaces = new RealNamespaces({
      program,
      watches,
      cgroups,
      setOomScoreAdj: (pid, wanted) => processes.setOomScoreAdj(pid, wanted),
      spawn: (request) => processes.spawn(request),
      threads: { ...options.workers, ...(options.log ? { log: options.log } : {}) },
    });
    return new RealKernel({ processes, namespaces, cgroups, program, watches, inotify });
  } catch (error) {
    program[Symbol.dispose]();
    watches[Symbol.dispose]();
    throw error;
  }
}

/**
 * The threads of libuv's pool are started with the first work given to them, in the namespaces of the thread that gives
 * it, and stay there. So the first work is given here, by the main thread: to node:fs and to koffi.
 */
async function warmUpThreadPool(): Promise<void> {
  await naming('stat /', () => stat('/'));
  await asynchronous(umount2, '', 0);
}

async function readPause(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new CrispError('FailedPrecondition', `the pause program ${path} cannot be read`, {
      cause: error,
      hint: 'build it: npm run setup',
    });
  }
}

interface Parts {
  readonly processes: Processes;
  readonly namespaces: RealNamespaces;
  readonly cgroups: Cgroups;
  readonly program: SealedProgram;
  readonly watches: ProcessWatches;
  readonly inotify: Inotify;
}

class RealKernel implements Kernel {
  readonly files: Files = files;
  readonly mounts: Mounts = mounts;
  readonly namespaces: Namespaces;
  readonly processes: Processes;
  readonly cgroups: Cgroups;
  readonly links: PodLinks;
  readonly nat: NatRules;
  readonly streams: Streams;
  readonly usage: Usage;
  readonly systemd = new Systemd();
  readonly selinux = new RealSelinux();
  readonly inotify: Inotify;
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.namespaces = parts.namespaces;
    this.processes = parts.processes;
    this.cgroups = parts.cgroups;
    this.links = parts.namespaces.links;
    this.nat = parts.namespaces.nat;
    this.usage = parts.namespaces.usage;
    this.streams = parts.namespaces.streams;
    this.inotify = parts.inotify;
  }

  troubles(): readonly Trouble[] {
    const { inotify, namespaces, cgroups } = this.#parts;
    const single = [cgroups.trouble, inotify.trouble, this.selinux.trouble].filter(
      (trouble) => trouble !== undefined,
    );
    return [...namespaces.troubles(), ...single];
  }

  async close(): Promise<number> {
    this.systemd[Symbol.dispose]();
    await this.selinux[Symbol.asyncDispose]();
    await this.#parts.namespaces[Symbol.asyncDispose]();
    this.#parts.program[Symbol.dispose]();
    this.#parts.watches[Symbol.dispose]();
    return this.#parts.namespaces.stuck + this.selinux.busy;
  }
}
