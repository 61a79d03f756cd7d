/**
 * How crisp learns that a container has ended: conmon's exit file (seen by inotify within 0.1 ms) is the first
 * witness, the emptied cgroup the second. Where the monitor was killed and no file will come, the sweep finds the
 * process gone by its reference, and the cgroup is emptied before anything is published. Its code is then the kernel's, by
 * the descriptor of the process that crisp holds while the container runs (Linux 6.15); else it is not known.
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
import type { Cleanups } from './cleanup.ts';

const SWEEP_MS = 2000;
/** Between two looks at the directory of exit files where inotify does not tell of them. */
const UNWATCHED_MS = 100;
/** How long a dead container's exit file may be on its way from a living monitor. */
const MONITOR_GRACE_MS = 10_000;
/** A process that has ended is reaped at once, by its monitor or the machine's first process. */
const REAP_LOOKS = 20;
const REAP_POLL_MS = 5;
const UNKNOWN_CODE = 255;
const MESSAGE_UNKNOWN =
  'the exit code is not known: monitor and container were both ended, or the node restarted';

interface Told {
  readonly code: number;
  readonly finishedAt: bigint;
}

export class Exits {
  readonly #context: Context;
  readonly #directory: string;
  /** Ends that a full disk has refused: their exit files are kept, and they are written when there is room. */
  readonly #unwritten = new Set<ContainerId>();
  readonly #missingSince = new Map<ContainerId, number>();
  /** By which an end is known whose exit file could not be written, or whose monitor was killed. */
  readonly #held = new Map<ContainerId, HeldProcess>();
  #forgetHeld: (() => void) | undefined;
  #watch: FileWatch | undefined;
  #timer: NodeJS.Timeout | undefined;
  #unwatched: NodeJS.Timeout | undefined;
  /** One settling a container at a time: looks come oftener than a kill may take. */
  readonly #settling = new Map<ContainerId, Promise<void>>();
  readonly #cleanups: Pick<Cleanups, 'ended'>;

  constructor(context: Context, cleanups: Pick<Cleanups, 'ended'>) {
    this.#context = context;
    this.#cleanups = cleanups;
    this.#directory = `${context.options.state}/exits`;
  }

  /** Begins to watch; the first sweep tells what ended before. Without inotify it looks at intervals. */
  async open(): Promise<void> {
    this.#timer = setInterval(() => void this.sweep(), SWEEP_MS).unref();
    for (const record of this.#context.containers.list()) this.#context.oomKills.expect(record);
    for (const record of this.#context.containers.list()) this.#hold(record.id, record);
    this.#forgetHeld = this.#context.containers.onChange((after, before) => {
      const id = (after ?? before)?.id;
      if (id) this.#hold(id, after);
    });
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await this.sweep();
  }

  close(): void {
    this.#forgetHeld?.();
    for (const id of this.#held.keys()) this.#hold(id, undefined);
    this.#watch?.[Symbol.dispose]();
    clearInterval(this.#timer);
    clearInterval(this.#unwatched);
  }

  /** Holds the process of a container that runs, and lets go of one that does not. */
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

  /** Asks for a watch where there is none; until there is room for one, the directory is read many times a second. */
  #ensureWatch(): void {
    if (this.#watch && !this.#watch.ended) return;
    try {
      this.#watch = this.#context.kernel.inotify.watch('exit files', this.#directory, (_event, name) => {
        if (name && isFullId(name)) void this.#settle(name as ContainerId);
      });
    } catch (error) {
      this.#watch = undefined; // the directory is missing: the next sweep tries again
      this.#context.log.warn({ error: describeError(error) }, 'exit files are not watched');
    }
    clearInterval(this.#unwatched);
    if (!this.#watch) this.#unwatched = setInterval(() => void this.#look(), UNWATCHED_MS).unref();
  }

  /** The exit files that are there now. */
  async #look(): Promise<Set<string>> {
    const names = new Set(await readdir(this.#directory).catch(() => [] as string[]));
    for (const { id, state } of this.#context.containers.list())
      if (state === 'running' && names.has(id)) void this.#settle(id);
    return names;
  }

  /**
   * Looks after all that may run: exit files that no event told, and processes that are gone without one. Never throws:
   * nobody waits for the sweeps that the clock begins.
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
    const told = await this.#look();
    const work: Promise<void>[] = [];
    for (const record of containers.list()) {
      if (record.state !== 'running') continue;
      if (told.has(record.id)) work.push(this.#settle(record.id));
      else if (record.process && !kernel.processes.alive(record.process)) work.push(this.#vanished(record));
    }
    for (const id of this.#unwritten) work.push(this.#writeLate(id));
    await Promise.all(work);
  }

  async #vanished(record: ContainerRecord): Promise<void> {
    const since = this.#missingSince.get(record.id) ?? performance.now();
    this.#missingSince.set(record.id, since);
    const monitored = record.monitor !== undefined && this.#context.kernel.processes.alive(record.monitor);
    if (monitored && performance.now() - since < MONITOR_GRACE_MS) return;
    await this.#settle(record.id);
  }

  /** Publishes the end of a container, once. Waits for a running start of the same container. */
  #settle(id: ContainerId): Promise<void> {
    const settling = this.#settling.get(id) ?? this.#settleNow(id).finally(() => this.#settling.delete(id));
    this.#settling.set(id, settling);
    return settling;
  }

  async #settleNow(id: ContainerId): Promise<void> {
    const { containers, log } = this.#context;
    const known = containers.get(id);
    if (!known || !mayRun(known)) return;
    try {
      await containers.exclusive(id, async () => {
        const record = containers.get(id);
        if (record?.state !== 'running') return;
        const op = new Operation('container exit', { log });
        const exit = await this.#conclude(record, op);
        const ended: ContainerRecord = { ...record, state: 'exited', exit, process: undefined };
        const written = await containers.settle(ended);
        this.#missingSince.delete(id);
        if (written) void this.#cleanups.ended(ended);
        else this.#unwritten.add(id);
      });
    } catch (error) {
      log.error(
        { container: id, error: describeError(error) },
        'the end of a container could not be settled',
      );
    }
  }

  #writeLate(id: ContainerId): Promise<void> {
    const { containers } = this.#context;
    return containers.exclusive(id, async () => {
      const record = containers.get(id);
      if (record && !(await containers.settle(record))) return;
      this.#unwritten.delete(id);
      if (record) void this.#cleanups.ended(record);
    });
  }

  /** The end as the kernel tells it, once the process is reaped; its time is that of the look. */
  async #seen(id: ContainerId): Promise<Told | undefined> {
    const held = this.#held.get(id);
    for (let look = 0; held && look < REAP_LOOKS; look++) {
      const status = held.status();
      if (status) return { code: status.code, finishedAt: nowNanoseconds() };
      await sleep(REAP_POLL_MS);
    }
    return undefined;
  }

  async #conclude(record: ContainerRecord, op: Operation): Promise<ContainerExit> {
    const { kernel, options, log } = this.#context;
    const told = (await readExit(pathsOf(options, record.id).exitFile)) ?? (await this.#seen(record.id));
    try {
      // In a shared pid namespace the others outlive the first process; and an exec may still be at work.
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
        'processes of an ended container stay behind',
      );
    }
    const conmonFile = `${pathsOf(options, record.id).bundle}/oom`;
    return verdict(told, this.#context.oomKills.killed(record, told?.code, conmonFile));
  }
}

/** The end of a container of which nothing is known but that it does not run. */
export const unknownExit = (): ContainerExit => ({
  code: UNKNOWN_CODE,
  reason: 'Unknown',
  message: MESSAGE_UNKNOWN,
  finishedAt: nowNanoseconds(),
});

async function readExit(path: string): Promise<Told | undefined> {
  try {
    const [text, { mtimeNs }] = await Promise.all([readFile(path, 'utf8'), stat(path, { bigint: true })]);
    const code = Number(text.trim());
    return text.trim() !== '' && Number.isInteger(code) ? { code, finishedAt: mtimeNs } : undefined;
  } catch {
    return undefined;
  }
}

/** Code, reason and time by the contract: OOM first, then the code. */
export function verdict(told: Told | undefined, oomKilled: boolean): ContainerExit {
  if (oomKilled) {
    return {
      code: told?.code ?? 137,
      reason: 'OOMKilled',
      message: '',
      finishedAt: told?.finishedAt ?? nowNanoseconds(),
    };
  }
  if (!told) return unknownExit();
  return { ...told, reason: told.code === 0 ? 'Completed' : 'Error', message: '' };
}
