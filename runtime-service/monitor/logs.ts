/**
 * ReopenContainerLog. conmon writes to the file that it has open; at the control line it makes a new file and renames it
 * to the log's path, replacing any file there, and acknowledges nothing. So one line too many destroys what was written
 * since the line before. Hence: the line is sent only where the file that it writes to is not at the path, and only when
 * no earlier line, perhaps of a daemon that was killed, is unread. It is done when the file at the path is the one that
 * conmon has open.
 */
import { readdir, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, errnoOf } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { SingleFlight } from '#core/single-flight.ts';
import { unreadBytes } from '#linux/io/fifo.ts';
import type { ContainerRecord } from '../container.ts';
import type { Context } from '../context.ts';
import { monitorControl, sendControl, unavailableMonitor } from './control.ts';

const REOPEN_MS = 10_000;
const POLL_MS = 5;
/** conmon's control line: kind 2 is "reopen the logs", the numbers are unused. */
const REOPEN_LINE = '2 0 0\n';
/** Consecutive polls without an unread line: between reading a line and acting on it conmon does nothing else. */
const QUIET_LOOKS = 2;

export class Logs {
  readonly #context: Context;
  readonly #flights = new SingleFlight<ContainerId, void>();

  constructor(context: Context) {
    this.#context = context;
  }

  /** Calls for one container join. Throws FailedPrecondition where it does not run, Unavailable without a monitor. */
  async reopen(id: ContainerId, op: Operation): Promise<void> {
    const record = this.#context.containers.resolve(id);
    if (record.state !== 'running') {
      throw new CrispError(
        'FailedPrecondition',
        `container ${record.id} is ${record.state}: its log is closed`,
        {
          hint: 'only a running container can reopen its log',
        },
      );
    }
    if (record.logPath === '') return;
    // A sent line cannot be revoked: the reopen goes on when its client has left, and those that joined get its result.
    const reopening = this.#flights.run(record.id, () => this.#carryOut(record, op.detached('reopen')));
    await op.deadline('reopen log', REOPEN_MS, () => reopening);
  }

  async #carryOut(record: ContainerRecord, op: Operation): Promise<void> {
    if (await isInPlace(record)) return;
    await op.deadline(
      'reopen log',
      REOPEN_MS,
      async (signal) => {
        let quiet = 0;
        let isReported = false;
        while (!signal.aborted && !(await isInPlace(record))) {
          this.#needMonitor(record);
          if (!isReported) {
            quiet = this.#isOrderWaiting(record) ? 0 : quiet + 1;
            if (quiet >= QUIET_LOOKS) {
              await sendControl(this.#context, record, REOPEN_LINE);
              isReported = true;
            }
          }
          await sleep(POLL_MS);
        }
      },
      record.logPath,
    );
  }

  /** conmon may also end after it has read the line. */
  #needMonitor(record: ContainerRecord): void {
    const { kernel } = this.#context;
    if (record.monitor && !kernel.processes.alive(record.monitor))
      throw unavailableMonitor(this.#context, record);
  }

  #isOrderWaiting(record: ContainerRecord): boolean {
    try {
      return unreadBytes(monitorControl(this.#context, record)) > 0;
    } catch (error) {
      throw unavailableMonitor(this.#context, record, error);
    }
  }
}

/** Whether the file at the log's path is the one that the monitor writes to; without a known monitor, whether it exists. */
async function isInPlace({ logPath, monitor }: ContainerRecord): Promise<boolean> {
  const there = await inodeOf(logPath);
  if (there === undefined || !monitor) return there !== undefined;
  const directory = `/proc/${monitor.pid}/fd`;
  const descriptors = await readdir(directory).catch(() => [] as string[]);
  const open = await Promise.all(descriptors.map((name) => inodeOf(`${directory}/${name}`)));
  // A monitor that has ended has no file open, and writes nothing more.
  return descriptors.length === 0 || open.includes(there);
}

/** `device:inode`; undefined where there is no such file. */
async function inodeOf(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ESRCH'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
