import { readdirSync } from 'node:fs';
import { unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import { throwIfAborted } from '../libc/abort.ts';
import { fromNode, naming } from '../libc/errno.ts';
import { mounts } from '../mount/mounts.ts';
import { PauseProcess } from '../namespace/pause-process.ts';
import { checkRequest } from '../namespace/pause-request.ts';
import { cloneFlags, isReversible } from '../namespace/setns.ts';
import type {
  Cgroups,
  HeldPause,
  IdMapping,
  NamespaceKind,
  Namespaces,
  PauseRequest,
  Processes,
  ProcessRef,
} from '../ports/kernel.ts';
import type { Trouble } from '../ports/troubles.ts';
import type { ProcessWatches } from '../process/child.ts';
import type { SealedProgram } from '../process/sealed-program.ts';
import type { ThreadOptions } from './deadlines.ts';
import { RealNatRules } from './nat-rules.ts';
import { RealPodLinks } from './pod-links.ts';
import { ReadThread } from './read-thread.ts';
import { RealUsage } from './stats.ts';
import { RealStreams } from './streams.ts';
import { NamespaceWorker } from './thread.ts';
import type { Settings } from './worker.ts';

/** The uid and gid of a pause process: the largest of 16 bits, which no user has. */
const PAUSE_ID = 65535;
type IdMaps = NonNullable<PauseRequest['userNamespace']>;
const kinds = Object.keys(cloneFlags) as NamespaceKind[];

export interface NamespacesOptions {
  readonly program: SealedProgram;
  readonly watches: ProcessWatches;
  /** Sets a pause's oom_score_adj. */
  readonly setOomScoreAdj: (pid: number, wanted: number) => number;
  readonly spawn: Processes['spawn'];
  /** For the usage readings. */
  readonly cgroups: Cgroups;
  /** Of both threads. */
  readonly threads: Pick<ThreadOptions, 'requestMs' | 'log'>;
}

/** The real namespaces. */
export class RealNamespaces implements Namespaces, AsyncDisposable {
  readonly #options: NamespacesOptions;
  readonly #thread: NamespaceWorker;
  /** Reads never wait behind a stuck request, nor does one behind a stuck read. */
  readonly #reader: ReadThread;
  #refusalLogged = false;
  /** The links of pods, by the thread that makes their namespaces. */
  readonly links: RealPodLinks;
  readonly streams: RealStreams;

  readonly usage: RealUsage;
  /** The pods' rules; the thread runs the comparison with iptables. */
  readonly nat: RealNatRules;

  constructor(options: NamespacesOptions) {
    this.#options = options;
    this.#thread = new NamespaceWorker({ ...options.threads, name: 'namespaces' });
    this.#reader = new ReadThread(this.#thread, options.threads);
    this.links = new RealPodLinks(this.#thread);
    this.usage = new RealUsage(this.#reader, options.cgroups);
    this.streams = new RealStreams(this.#thread, options.program, options.spawn);
    this.nat = new RealNatRules(this.#thread, options.watches);
    this.#thread.warm();
  }

  async hold(request: PauseRequest, signal: AbortSignal): Promise<HeldPause> {
    checkRequest(request);
    throwIfAborted(signal, 'hold the namespaces');
    await this.unpin(request.pins);
    let pause: PauseProcess | undefined;
    try {
      pause = request.userNamespace ? this.#spawnOwner(request) : await this.#spawnInside(request);
      if (request.userNamespace) await this.#makeInUserNamespace(pause, request, request.userNamespace);
      else await pause.expect('held');
      this.#options.setOomScoreAdj(pause.process.pid, request.oomScoreAdj);
      throwIfAborted(signal, 'hold the namespaces');
      const pinned = request.kinds.map((kind) => [kind, join(request.pins, kind)] as const);
      const joinsCgroups = !request.userNamespace && request.joinFiles !== undefined;
      return pause.toHeldPause(Object.fromEntries(pinned), joinsCgroups, (errno) =>
        this.#logRefused(errno, request.label),
      );
    } catch (error) {
      await pause?.abandon();
      await this.unpin(request.pins).catch(() => {}); // the first error counts; the caller's undo unpins again
      throw error;
    }
  }

  /** Without a user namespace: the thread makes the namespaces and spawns the program in them. */
  async #spawnInside(request: PauseRequest): Promise<PauseProcess> {
    const made = await this.#thread.request({
      act: 'make',
      settings: settingsOf(request),
      pins: request.pins,
      program: this.#options.program.path,
      argv: [
        'crisp-pause',
        `${PAUSE_ID}`,
        `${PAUSE_ID}`,
        '0',
        request.label ?? '',
        ...(request.joinFiles ?? []),
      ],
    });
    if (!made) throw new CrispError('Internal', 'the namespace thread replied without a process');
    return new PauseProcess(made, this.#options.watches);
  }

  /** With a user namespace: a thread cannot make or enter one, so the program makes all namespaces itself. */
  #spawnOwner(request: PauseRequest): PauseProcess {
    const { uids = [], gids = [] } = request.userNamespace ?? {};
    const flags = request.kinds
      .filter((kind) => kind !== 'user')
      .reduce((all, kind) => all | cloneFlags[kind], 0);
    const argv = ['crisp-pause', `${sealedId(uids)}`, `${sealedId(gids)}`, `${flags}`, request.label ?? ''];
    return PauseProcess.spawn(this.#options.program.path, argv, this.#options.watches);
  }

  /** Once: a policy refuses all of them, or none. It has no privilege and no file, so the pod is as isolated without it. */
  #logRefused(errno: string, label: string | undefined): void {
    if (this.#refusalLogged) return;
    this.#refusalLogged = true;
    this.#options.threads.log?.warn(
      {
        label,
        errno,
        hint: 'allow the domain of the daemon `process dyntransition` to it; see ausearch -m avc',
      },
      'the SELinux policy keeps pause processes in the context of the daemon; containers have their own',
    );
  }

  /** Maps the ids, has the program make the namespaces, and sets them up from outside. */
  async #makeInUserNamespace(pause: PauseProcess, request: PauseRequest, maps: IdMaps): Promise<void> {
    await pause.expect('user');
    await writeMap(pause.process.pid, 'gid_map', maps.gids);
    await writeMap(pause.process.pid, 'uid_map', maps.uids);
    pause.proceed();
    pause.replaceProcess(Number(await pause.expect('held')));
    await this.#thread.request({
      act: 'adopt',
      settings: settingsOf(request),
      pins: request.pins,
      pinned: request.kinds,
      pid: pause.process.pid,
      owner: maps.uids.find(({ containerId }) => containerId === 0)?.hostId ?? 0,
    });
  }

  async unpin(pins: string): Promise<void> {
    let names: string[];
    try {
      names = readdirSync(pins);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return;
      throw fromNode(error, `read ${pins}`);
    }
    const pinned = names.filter((name) => (kinds as readonly string[]).includes(name));
    await Promise.all(pinned.map((name) => unpinFile(join(pins, name))));
  }

  /**
   * By a pidfd, which becomes readable at the exit of any process, without polling; nothing has to be kept open in the
   * pause process, and after a restart only the process itself has to be found.
   */
  async watch(process: ProcessRef, signal: AbortSignal): Promise<void> {
    const { watches } = this.#options;
    if (process.bootId === watches.bootId) await watches.untilGone(process, signal);
  }

  async pinEmptyNetwork(path: string): Promise<void> {
    await this.#thread.request({ act: 'pin empty network', path });
  }

  /** Threads that are inside of a system call which does not return. */
  get stuck(): number {
    return this.#thread.deadlines.stuck + this.#reader.deadlines.stuck;
  }

  troubles(): readonly Trouble[] {
    return [this.#thread, this.#reader]
      .map(({ deadlines }) => deadlines.trouble)
      .filter((trouble) => trouble !== undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.nat[Symbol.dispose]();
    await this.#reader[Symbol.asyncDispose]();
    await this.#thread[Symbol.asyncDispose]();
  }
}

async function writeMap(pid: number, file: string, map: readonly IdMapping[]): Promise<void> {
  const lines = map.map(({ containerId, hostId, length }) => `${containerId} ${hostId} ${length}\n`).join('');
  await naming(`write ${JSON.stringify(lines)} to ${file} of pause process ${pid}`, () => {
    return writeFile(`/proc/${pid}/${file}`, lines, { flag: 'r+' });
  });
}

async function unpinFile(path: string): Promise<void> {
  await mounts.unmount(path);
  await unlink(path).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw fromNode(error, `delete the pin ${path}`);
  });
}

function settingsOf(request: PauseRequest): Settings {
  return { kinds: request.kinds.filter(isReversible), hostname: request.hostname, sysctls: request.sysctls };
}

/** 65535 where the map has it, else the last id that is mapped. */
function sealedId(map: readonly IdMapping[]): number {
  if (map.some(({ containerId, length }) => containerId <= PAUSE_ID && PAUSE_ID < containerId + length))
    return PAUSE_ID;
  return Math.max(0, ...map.map(({ containerId, length }) => containerId + length - 1));
}
