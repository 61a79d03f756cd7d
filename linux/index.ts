/** The kernel's real face. */
import { readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { CrispError } from '#core/errors.ts';
import { checkLibrary } from './c-library.ts';
import { openCgroups } from './cgroups.ts';
import { ProcessWatches } from './child.ts';
import { naming } from './errno.ts';
import { files } from './files.ts';
import { readBootId } from './identity.ts';
import { Inotify } from './inotify.ts';
import type { Cgroups, Files, Kernel, Mounts, Namespaces, NatRules, PodLinks, Processes } from './kernel.ts';
import { asynchronous, umount2 } from './libc.ts';
import { mounts } from './mounts.ts';
import { RealNamespaces } from './namespaces.ts';
import { type KernelLog, RealProcesses } from './processes.ts';
import { SealedProgram } from './sealed-program.ts';
import type { Streams } from './streams.ts';
import { Systemd } from './systemd.ts';
import type { Trouble } from './troubles.ts';
import type { Usage } from './usage.ts';

export type { KernelLog } from './processes.ts';

export interface KernelOptions {
  /** The pause program; by default the one that bin/setup has built. Read once. */
  readonly pauseProgram?: string;
  readonly log?: KernelLog;
  /** For tests: how long one act of a worker may take. */
  readonly workers?: { readonly requestMs: number };
}

const builtPauseProgram = fileURLToPath(new URL('../pod-sandbox/build/pause', import.meta.url));

/**
 * Opens the kernel. To be called on the main thread before any worker of crisp is started.
 * Throws FailedPrecondition where the pause program, every cgroup hierarchy or a part of the C library is missing.
 */
export async function openKernel(options: KernelOptions = {}): Promise<Kernel> {
  checkLibrary();
  await bearThreads();
  const watches = new ProcessWatches(readBootId());
  const program = new SealedProgram(
    'crisp-pause',
    await readPause(options.pauseProgram ?? builtPauseProgram),
  );
  const inotify = new Inotify(options.log ?? { warn() {} });
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
 * The threads of libuv's pool are born with the first work given to them, into the namespaces of whichever thread gives
 * it, and stay there. So the first work is given here, by the main thread: to node:fs and to koffi.
 */
async function bearThreads(): Promise<void> {
  await naming('look at /', () => stat('/'));
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
    const single = [cgroups.trouble, inotify.trouble].filter((trouble) => trouble !== undefined);
    return [...namespaces.troubles(), ...single];
  }

  async close(): Promise<number> {
    this.systemd[Symbol.dispose]();
    await this.#parts.namespaces[Symbol.asyncDispose]();
    this.#parts.program[Symbol.dispose]();
    this.#parts.watches[Symbol.dispose]();
    return this.#parts.namespaces.stuck;
  }
}
