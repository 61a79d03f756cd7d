/**
 * How crisp detects that a container has ended: by conmon's exit file (inotify: within 0.1 ms), confirmed by the emptied
 * cgroup. Where the monitor was killed and writes no file, the sweep finds the process gone by its reference, and the
 * cgroup is emptied before anything is published. The exit code is then the kernel's, by the pidfd that crisp holds while
 * the container runs (Linux 6.15); else it is unknown.
 */
import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import { type ContainerId, isFullId } from '#core/ids.ts';
import { Operation } from '#core/operation.ts';
import type { FileWatch } from '#linux/ports/inotify.ts';
import type { HeldProcess } from '#linux/ports/kernel.ts';
import { type ContainerExit, type ContainerRecord, mayRun, nowNanoseconds } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';

const SWEEP_MS = 2000;
/** Between two reads of the directory of exit files where there is no inotify watch. */
const POLL_MS = 100;
/** How long a running monitor may take to write the exit file of a container that has ended. */
const MONITOR_GRACE_MS = 10_000;
/** A process that has ended is reaped at once, by its monitor or by pid 1. */
const REAP_POLLS = 20;
const REAP_POLL_MS = 5;
const UNKNOWN_CODE = 255;
const MESSAGE_UNKNOWN =
  'the exit code is unknown: monitor and container were both killed, or the node restarted';

interface ExitReport {
  readonly code: number;
  readonly finishedAt: bigint;
}

export class Exits {
  readonly #context: Context;
  readonly #directory: string;
  /** Exits that are not on the disk because it is full: their exit files are kept until the records are written. */
  readonly #unwritten = new Set<ContainerId>();
  readonly #missingSince = new Map<ContainerId, number>();
  /** For exit codes where the exit file could not be written, or the monitor was killed. */
  readonly #held = new Map<ContainerId, HeldProcess>();
  #endListening: (() => void) | undefined;
  #watch: FileWatch | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pollTimer: NodeJS.Timeout | undefined;
  /** One at a time for each container: a kill may take longer than the interval of the sweeps. */
  readonly #recording = new Map<ContainerId, Promise<void>>();

  constructor(context: Context) {
    this.#context = context;
    this.#directory = `${context.options.state}/exits`;
  }

  /** Begins to watch; the first sweep finds what ended before. Without inotify the directory is polled. */
  async open(): Promise<void> {
    this.#timer = setInterval(() => void this.sweep(), SWEEP_MS).unref();
    for (const record of this.#context.containers.list()) this.#context.oomKills.expect(record);
    for (const record of this.#context.containers.list()) this.#hold(record.id, record);
    this.#endListening = this.#context.containers.onChange((after, before) => {
      const id = (after ?? before)?.id;
      if (id) this.#hold(id, after);
    });
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await this.sweep();
  }

  close(): void {
    this.#endListening?.();
    for (const id of this.#held.keys()) this.#hold(id, undefined);
    this.#watch?.[Symbol.dispose]();
    clearInterval(this.#timer);
    clearInterval(this.#pollTimer);
  }

  /** Holds the process of a running container, and releases that of another. */
  #hold(id: ContainerId, record: ContainerRecord | undefined): void {
    const held = this.#held.get(id);
    if (record?.state === 'running' && record.process) {
      const taken = held ?? this.#context.kernel.processes.hold(record.process);
      if (taken) this.#held.set(id, taken);
    } else if (held) {
      held[Symbol.dispose]();
      this.#held.delete(id);
    }
  }

  /** Adds the watch where there is none; as long as inotify's limits refuse one, the directory is polled. */
  #ensureWatch(): void {
    if (this.#watch && !this.#watch.ended) return;
    try {
      this.#watch = this.#context.kernel.inotify.watch('exit files', this.#directory, (_event, name) => {
        if (name && isFullId(name)) void this.#recordExit(name as ContainerId);
      });
    } catch (error) {
      this.#watch = undefined; // the directory is missing: the next sweep tries again
      this.#context.log.warn({ error: describeError(error) }, 'exit files are not watched');
    }
    clearInterval(this.#pollTimer);
    if (!this.#watch) this.#pollTimer = setInterval(() => void this.#readExitFiles(), POLL_MS).unref();
  }

  /** The names of the present exit files, whose exits are recorded. */
  async #readExitFiles(): Promise<Set<string>> {
    const names = new Set(await readdir(this.#directory).catch(() => [] as string[]));
    for (const { id, state } of this.#context.containers.list())
      if (state === 'running' && names.has(id)) void this.#recordExit(id);
    return names;
  }

  /**
   * Checks all running containers: exit files without an inotify event, and processes that are gone without an exit file.
   * Never throws: the timer's sweeps have no caller.
   */
  async sweep(): Promise<void> {
    try {
      await this.#sweep();
    } catch (error) {
      this.#context.log.warn({ error: describeError(error) }, 'sweep of exits failed');
    }
  }

  async #sweep(): Promise<void> {
    const { containers, kernel } = this.#context;
    this.#ensureWatch();
    const names = await this.#readExitFiles();
    const work: Promise<void>[] = [];
    for (const record of containers.list()) {
      if (record.state !== 'running') continue;
      if (names.has(record.id)) work.push(this.#recordExit(record.id));
      else if (record.process && !kernel.processes.alive(record.process)) work.push(this.#recordGone(record));
    }
    for (const id of this.#unwritten) work.push(this.#writeLate(id));
    await Promise.all(work);
  }

  /** The process is gone, and there is no exit file: a running monitor has time to write it. */
  async #recordGone(record: ContainerRecord): Promise<void> {
    const since = this.#missingSince.get(record.id) ?? performance.now();
    this.#missingSince.set(record.id, since);
    const monitored = record.monitor !== undefined && this.#context.kernel.processes.alive(record.monitor);
    if (monitored && performance.now() - since < MONITOR_GRACE_MS) return;
    await this.#recordExit(record.id);
  }

  /** Records and publishes the exit of a container, once. Waits for a running start of the same container. */
  #recordExit(id: ContainerId): Promise<void> {
    const running =
      this.#recording.get(id) ?? this.#recordExitNow(id).finally(() => this.#recording.delete(id));
    this.#recording.set(id, running);
    return running;
  }

  async #recordExitNow(id: ContainerId): Promise<void> {
    const { containers, log } = this.#context;
    const known = containers.get(id);
    if (!known || !mayRun(known)) return;
    try {
      await containers.exclusive(id, async () => {
        const record = containers.get(id);
        if (record?.state !== 'running') return;
        const op = new Operation('container exit', { log });
        const exit = await this.#determineExit(record, op);
        const ended: ContainerRecord = { ...record, state: 'exited', exit, process: undefined };
        const written = await containers.commitEnd(ended);
        this.#missingSince.delete(id);
        if (exit.reason === 'OOMKilled') this.#reportOom(ended, op);
        if (written) void this.#context.cleanups.afterExit(ended);
        else this.#unwritten.add(id);
      });
    } catch (error) {
      log.error(
        { container: id, error: describeError(error) },
        'the exit of a container could not be recorded',
      );
    }
  }

  #reportOom({ id, sandboxId, metadata }: ContainerRecord, op: Operation): void {
    op.log.info(
      { container: id, sandbox: sandboxId, name: metadata.name },
      'the OOM killer ended a container',
    );
    this.#context.observer.oomKilled(op);
  }

  #writeLate(id: ContainerId): Promise<void> {
    const { containers } = this.#context;
    return containers.exclusive(id, async () => {
      const record = containers.get(id);
      if (record && !(await containers.commitEnd(record))) return;
      this.#unwritten.delete(id);
      if (record) void this.#context.cleanups.afterExit(record);
    });
  }

  /** The exit as the kernel reports it, once the process is reaped; its time is that of the poll. */
  async #fromKernel(id: ContainerId): Promise<ExitReport | undefined> {
    const held = this.#held.get(id);
    for (let poll = 0; held && poll < REAP_POLLS; poll++) {
      const status = held.status();
      if (status) return { code: status.code, finishedAt: nowNanoseconds() };
      await sleep(REAP_POLL_MS);
    }
    return undefined;
  }

  async #determineExit(record: ContainerRecord, op: Operation): Promise<ContainerExit> {
    const { kernel, options, log } = this.#context;
    const report =
      (await readExit(pathsOf(options, record.id).exitFile)) ?? (await this.#fromKernel(record.id));
    try {
      // In a shared pid namespace other processes outlive the first one; and an exec may still run.
      if (kernel.cgroups.processes(record.cgroup.path).length > 0) {
        await op.deadline(
          'kill cgroup',
          options.timeouts.kill,
          (signal) => kernel.cgroups.kill(record.cgroup.path, signal),
          record.cgroup.path,
        );
      }
    } catch (error) {
      log.warn(
        { container: record.id, error: describeError(error) },
        'processes of an exited container remain',
      );
    }
    const conmonFile = `${pathsOf(options, record.id).bundle}/oom`;
    const killed = this.#context.oomKills.killed(record, report?.code, conmonFile);
    return withEviction(exitFrom(report, killed, record.startedAt), record);
  }
}

const withEviction = (exit: ContainerExit, { eviction }: ContainerRecord): ContainerExit =>
  eviction === undefined ? exit : { ...exit, message: `evicted by an NRI plugin: ${eviction}` };

/** The exit of a container of which it is only known that it does not run. */
export const unknownExit = (): ContainerExit => ({
  code: UNKNOWN_CODE,
  reason: 'Unknown',
  message: MESSAGE_UNKNOWN,
  finishedAt: nowNanoseconds(),
});

async function readExit(path: string): Promise<ExitReport | undefined> {
  try {
    const [text, { mtimeNs }] = await Promise.all([readFile(path, 'utf8'), stat(path, { bigint: true })]);
    const code = Number(text.trim());
    return text.trim() !== '' && Number.isInteger(code) ? { code, finishedAt: mtimeNs } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Code, reason and time by the contract: OOM first, then the code. The end is never before the start: that one is recorded when the OCI
 * runtime has returned, when a short command may be over, and the time of a file is up to a tick of the kernel behind the clock.
 */
export function exitFrom(report: ExitReport | undefined, oomKilled: boolean, startedAt = 0n): ContainerExit {
  const reported = report?.finishedAt ?? nowNanoseconds();
  const finishedAt = reported > startedAt ? reported : startedAt;
  if (oomKilled) return { code: report?.code ?? 137, reason: 'OOMKilled', message: '', finishedAt };
  if (!report) return unknownExit();
  return { ...report, finishedAt, reason: report.code === 0 ? 'Completed' : 'Error', message: '' };
}
