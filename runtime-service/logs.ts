import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { CrispError, errnoOf } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from './container.ts';
import { placesOf, type Runtime } from './runtime.ts';

const REOPEN_MS = 10_000;
const POLL_MS = 5;
/** conmon's control line: kind 2 is "reopen the logs", the numbers are unused. */
const REOPEN_LINE = '2 0 0\n';

/**
 * ReopenContainerLog: after the kubelet has renamed the file, conmon opens a new one. conmon acknowledges nothing and
 * truncates a file that is still in place, so it is asked only where the file has gone, and the call returns when the
 * new file is there.
 */
export async function reopenLog(runtime: Runtime, id: ContainerId, op: Operation): Promise<void> {
  const record = runtime.containers.resolve(id);
  if (record.state !== 'running') {
    throw new CrispError(
      'FailedPrecondition',
      `container ${record.id} is ${record.state}: its log is closed`,
      {
        hint: 'only a running container can reopen its log',
      },
    );
  }
  if (record.logPath === '' || (await exists(record.logPath))) return;
  await op.deadline('reopen log', REOPEN_MS, async (signal) => {
    await tellMonitor(runtime, record);
    while (!signal.aborted && !(await exists(record.logPath))) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  });
}

async function tellMonitor(runtime: Runtime, record: ContainerRecord): Promise<void> {
  const path = `${placesOf(runtime.options, record.id).bundle}/ctl`;
  try {
    // Not blocking: without conmon at the other end of the FIFO the open fails instead of waiting.
    await using file = await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
    await file.write(REOPEN_LINE);
  } catch (error) {
    throw new CrispError(
      'Unavailable',
      `the monitor of container ${record.id} does not take orders (${path})`,
      {
        cause: error,
        hint: 'see whether its conmon was killed; its container goes on without a log',
      },
    );
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}
