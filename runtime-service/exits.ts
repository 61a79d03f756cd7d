/**
 * How crisp learns that a container has ended: conmon's exit file (seen by inotify within 0.1 ms) is the first
 * witness, the emptied cgroup the second. Where the monitor was killed and no file will come, the sweep finds the
 * process gone by its reference, and the cgroup is emptied before anything is published.
 */
import { type FSWatcher, watch } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { describeError } from '#core/errors.ts';
import { type ContainerId, isFullId } from '#core/ids.ts';
import { Operation } from '#core/operation.ts';
import type { CleanUps } from './clean-up.ts';
import { type ContainerExit, type ContainerRecord, mayRun, nowNanoseconds } from './container.ts';
import { placesOf, type Runtime } from './runtime.ts';

const SWEEP_MS = 2000;
/** How long a dead container's exit file may be on its way from a living monitor. */
const MONITOR_GRACE_MS = 10_000;
const UNKNOWN_CODE = 255;
const MESSAGE_UNKNOWN =
  'the exit code is not known: monitor and container were both ended, or the node restarted';

interface Told {
  readonly code: number;
  readonly finishedAt: bigint;
}

export class Exits {
  readonly #runtime: Runtime;
  readonly #directory: string;
  /** Ends that a full disk has refused: their exit files are kept, and they are written when there is room. */
  readonly #unwritten = new Set<ContainerId>();
  readonly #missingSince = new Map<ContainerId, number>();
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #cleanUps: Pick<CleanUps, 'ended'>;

  constructor(runtime: Runtime, cleanUps: Pick<CleanUps, 'ended'>) {
    this.#runtime = runtime;
    this.#cleanUps = cleanUps;
    this.#directory = `${runtime.options.state}/exits`;
  }

  /** Begins to watch; the first sweep tells what ended before. */
  async open(): Promise<void> {
    for (const record of this.#runtime.containers.list()) this.#runtime.oomKills.expect(record);
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    this.#watcher = watch(this.#directory, (_event, name) => {
      if (name && isFullId(name)) void this.#settle(name as ContainerId);
    });
    this.#watcher.on('error', (error) => {
      this.#runtime.log.warn(
        { error: describeError(error) },
        'watch of exit files failed; the sweep goes on',
      );
    });
    this.#timer = setInterval(() => void this.sweep(), SWEEP_MS).unref();
    await this.sweep();
  }

  close(): void {
    this.#watcher?.close();
    clearInterval(this.#timer);
  }

  /** Looks after all that may run: exit files that no event told, and processes that are gone without one. */
  async sweep(): Promise<void> {
    const { containers, kernel, log } = this.#runtime;
    const told = new Set(await readdir(this.#directory).catch(() => [] as string[]));
    const work: Promise<void>[] = [];
    for (const record of containers.list()) {
      if (record.state !== 'running') continue;
      if (told.has(record.id)) work.push(this.#settle(record.id));
      else if (record.process && !kernel.processes.alive(record.process)) work.push(this.#vanished(record));
    }
    for (const id of this.#unwritten) work.push(this.#writeLate(id));
    await Promise.all(work).catch((error: unknown) =>
      log.warn({ error: describeError(error) }, 'sweep of exits failed'),
    );
  }

  async #vanished(record: ContainerRecord): Promise<void> {
    const since = this.#missingSince.get(record.id) ?? Date.now();
    this.#missingSince.set(record.id, since);
    const monitored = record.monitor !== undefined && this.#runtime.kernel.processes.alive(record.monitor);
    if (monitored && Date.now() - since < MONITOR_GRACE_MS) return;
    await this.#settle(record.id);
  }

  /** Publishes the end of a container, once. Waits for a running start of the same container. */
  async #settle(id: ContainerId): Promise<void> {
    const { containers, log } = this.#runtime;
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
        if (written) void this.#cleanUps.ended(ended);
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
    const { containers } = this.#runtime;
    return containers.exclusive(id, async () => {
      const record = containers.get(id);
      if (record && !(await containers.settle(record))) return;
      this.#unwritten.delete(id);
      if (record) void this.#cleanUps.ended(record);
    });
  }

  async #conclude(record: ContainerRecord, op: Operation): Promise<ContainerExit> {
    const { kernel, options, log } = this.#runtime;
    const told = await readExit(placesOf(options, record.id).exitFile);
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
    const conmonFile = `${placesOf(options, record.id).bundle}/oom`;
    return verdict(told, this.#runtime.oomKills.killed(record, told?.code, conmonFile));
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
    return Number.isInteger(code) ? { code, finishedAt: mtimeNs } : undefined;
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

/** Removes the exit file of a container that is gone. */
export const forgetExit = (runtime: Runtime, id: ContainerId): Promise<void> =>
  rm(placesOf(runtime.options, id).exitFile, { force: true });
