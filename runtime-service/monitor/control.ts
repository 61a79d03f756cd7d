import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { CrispError } from '#core/errors.ts';
import type { ContainerRecord } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';

/** The FIFO from which conmon reads control lines. */
export const monitorControl = (context: Context, record: ContainerRecord): string =>
  `${pathsOf(context.options, record.id).bundle}/ctl`;

/**
 * Writes a line to conmon's control FIFO: `1 ROWS COLUMNS` sets the terminal's size, `2 0 0` reopens the log. conmon
 * acknowledges nothing. Throws Unavailable where no conmon reads it.
 */
export async function sendControl(context: Context, record: ContainerRecord, line: string): Promise<void> {
  try {
    // Not blocking: without conmon at the other end of the FIFO the open fails instead of waiting.
    await using file = await open(monitorControl(context, record), constants.O_WRONLY | constants.O_NONBLOCK);
    await file.write(line);
  } catch (error) {
    throw unavailableMonitor(context, record, error);
  }
}

export const unavailableMonitor = (context: Context, record: ContainerRecord, cause?: unknown): CrispError =>
  new CrispError(
    'Unavailable',
    `the monitor of container ${record.id} does not read its control FIFO (${monitorControl(context, record)})`,
    {
      cause,
      hint: 'check whether its conmon was killed; its container runs on without a log',
    },
  );
