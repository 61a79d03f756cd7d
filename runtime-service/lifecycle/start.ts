import { existsSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CrispError, describeError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { PodView } from '#core/model/pod.ts';
import type { Operation } from '#core/operation.ts';
import { SharedFlight } from '#core/single-flight.ts';
import { type ContainerIntent, type ContainerRecord, nowNanoseconds } from '../container.ts';
import type { Context } from '../context.ts';
import { startMonitor } from '../monitor/conmon.ts';
import { restoreDirectory } from '../restore/index.ts';
import { checkPidTarget } from './pid-target.ts';
import { recoverContainer } from './recover.ts';
import { ofCheckpoint, ofProcess, undoContainer } from './undo.ts';

const START_ERROR = 128;
/** A client's wait; each step within has a nearer deadline of its own. */
const JOIN_MS = 10 * 60_000;
/** Until the runtime has moved the container's process, on a node that has other work too. */
const MOVE_MS = 40;

/**
 * StartContainer: monitor, OCI create, OCI start. Returns when the user's program has been executed. A failure is the
 * call's error, and the container is EXITED with code 128 and reason StartError. A retry joins, and
 * the start goes on as long as one of those who have asked for it waits.
 */
export class Starting {
  readonly #flights = new SharedFlight<ContainerId, void>();
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  start(id: ContainerId, op: Operation): Promise<void> {
    return op.deadline('start', JOIN_MS, (signal) =>
      this.#flights.run(id, signal, (shared) => this.#inTurn(id, op.under(shared))),
    );
  }

  /** Waits for what is under way, which the end of its callers ends. */
  close(): Promise<void> {
    return this.#flights.settled();
  }

  #inTurn(id: ContainerId, op: Operation): Promise<void> {
    const { containers } = this.#context;
    return containers.exclusive(id, async () => {
      // No other call starts it now: a start that an earlier daemon did not finish is a start error first.
      // And limits that it was changing are changed, or set back.
      const { state, update } = containers.get(id) ?? {};
      if (state === 'starting' || update) await recoverContainer(this.#context, id, op.detached('take back'));
      await this.#start(containers.resolve(id), op);
    });
  }

  async #start(record: ContainerRecord, op: Operation): Promise<void> {
    if (record.state !== 'created') {
      throw new CrispError('FailedPrecondition', `container ${record.id} is ${record.state}, not created`, {
        hint: 'a container starts once: create the next attempt',
      });
    }
    const pod = this.#context.pods.get(record.sandboxId);
    if (!pod?.ready) {
      throw new CrispError('FailedPrecondition', `pod sandbox ${record.sandboxId} is not ready`, {
        hint: 'run a new pod sandbox',
      });
    }
    op.checkpoint();
    this.#context.kernel.cgroups.expectTaskMigration(MOVE_MS);
    const starting = await this.#intend(record, pod, op);
    try {
      await this.#launch(starting, pod, op);
    } catch (error) {
      await this.#fail(starting, error, op.detached('rollback'));
      throw error;
    }
  }

  #intend(record: ContainerRecord, pod: PodView, op: Operation): Promise<ContainerRecord> {
    const intents: ContainerIntent[] = [
      ...record.intents,
      { kind: 'cgroup', path: record.cgroup.path },
      { kind: 'runtime', handler: record.handler },
      { kind: 'monitor', cgroup: pod.monitorCgroup },
    ];
    return op.stage('record', () =>
      this.#context.containers.update({ ...record, state: 'starting', intents }),
    );
  }

  async #launch(record: ContainerRecord, pod: PodView, op: Operation): Promise<void> {
    const oci = this.#context.handlers.get(record.handler);
    await op.stage('directories', () =>
      Promise.all([
        provide(`${this.#context.options.state}/oci/${oci.handler}`, 0o700),
        record.logPath === '' ? undefined : provideLog(record.logPath),
      ]),
    );
    this.#context.oomKills.expect(record);
    const { container, monitor } = await startMonitor(this.#context, oci, record, pod.monitorCgroup, op);
    op.checkpoint();
    checkPidTarget(this.#context, record, container);
    // Restored processes go on at once.
    const restored = restoreDirectory(record) !== undefined;
    if (!restored) {
      this.#context.firstSteps.begin(record.id, container);
      await op.stage('OCI start', () => oci.start(record.id, op));
    }
    const running = await op.stage('record', () =>
      this.#context.containers.update({
        ...record,
        state: 'running',
        startedAt: nowNanoseconds(),
        process: container,
        monitor,
      }),
    );
    if (restored) await this.#forgetCheckpoint(running, op);
  }

  /** It runs: CRIU's files, as large as its memory, are of no more use. What fails here a restart of the daemon repeats. */
  async #forgetCheckpoint(record: ContainerRecord, op: Operation): Promise<void> {
    const { left } = await undoContainer(this.#context, record, op.detached('clean-up'), ofCheckpoint);
    await this.#context.containers.settle({ ...record, intents: left });
  }

  async #fail(record: ContainerRecord, error: unknown, op: Operation): Promise<void> {
    const { left } = await undoContainer(this.#context, record, op, ofProcess);
    await this.#context.containers.settle({
      ...record,
      state: 'exited',
      intents: left,
      exit: {
        code: START_ERROR,
        reason: 'StartError',
        message: describeError(error),
        finishedAt: nowNanoseconds(),
      },
    });
  }
}

/** After a pod's first start it is there: to look is cheaper than to ask the thread pool for it. */
async function provide(directory: string, mode: number): Promise<void> {
  if (!existsSync(directory)) await mkdir(directory, { recursive: true, mode });
}

/** conmon opens the log as it is, for good: a pipe would hold it up, and whatever a device does at an open, it would do. */
async function provideLog(path: string): Promise<void> {
  await provide(dirname(path), 0o755);
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found || found.isFile()) return;
  throw new CrispError('FailedPrecondition', `log ${path} is there, and is not a regular file`, {
    hint: 'remove it, and start the next attempt of the container',
  });
}
