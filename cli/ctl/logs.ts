/** `crisp ctl logs`: reads the container's log file, so it works only on the node. */
import { cri } from '#api/cri/v1/index.ts';
import { parseDuration } from '#config/index.ts';
import { CrispError, errnoOf } from '#core/errors.ts';
import { type Command, type Parsed, UsageError } from '../command.ts';
import { parseTimestamp } from '../format.ts';
import { type LogOptions, readLog } from '../log-file.ts';
import { LogPrinter } from '../log-printer.ts';
import type { Ctl } from './context.ts';

function tailOf(parsed: Parsed): number | undefined {
  const text = parsed.text('tail');
  if (text === undefined || text === '-1') return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--tail must be a number of lines, not '${text}'`);
  return Number(text);
}

function sinceOf(parsed: Parsed, now: bigint): bigint | undefined {
  const text = parsed.text('since');
  if (text === undefined) return undefined;
  const back = parseDuration(text);
  const since = back === undefined ? parseTimestamp(text) : now - BigInt(back) * 1_000_000n;
  if (since === undefined)
    throw new UsageError(`--since must be a time in RFC 3339 or a duration such as 10m, not '${text}'`);
  return since;
}

/** Whether the container has exited or was removed. */
export async function hasEnded(ctl: Ctl, containerId: string): Promise<boolean> {
  try {
    const { status } = await ctl.client.ContainerStatus({ containerId }, ctl.call());
    return (
      status?.state === cri.ContainerState.CONTAINER_EXITED ||
      status?.state === cri.ContainerState.CONTAINER_UNKNOWN
    );
  } catch (error) {
    if (error instanceof CrispError && error.code === 'NotFound') return true;
    throw error;
  }
}

/** Prints a log; a missing file is an error that names it. */
export async function printLog(
  ctl: Ctl,
  path: string,
  options: LogOptions,
  timestamps: boolean,
): Promise<void> {
  const printer = new LogPrinter(ctl.terminal, { timestamps });
  try {
    for await (const record of readLog(path, options)) printer.print(record);
  } catch (error) {
    if (error instanceof CrispError) throw error;
    throw new CrispError('NotFound', `the log ${path} cannot be read (${errnoOf(error)})`, {
      hint: 'logs can be read on the node that the container runs on',
    });
  }
}

export const logs: Command<Ctl> = {
  name: 'logs',
  usage: 'CONTAINER',
  summary: 'Show the log of a container',
  flags: {
    follow: { type: 'boolean', short: 'f', doc: 'Follow the log until the container ends' },
    tail: { type: 'string', value: 'LINES', doc: 'Only this many lines from the end' },
    since: { type: 'string', value: 'TIME', doc: 'Only lines since a time (RFC 3339) or of the last 10m' },
    timestamps: { type: 'boolean', short: 't', doc: 'Show the time of each line' },
  },
  arity: [1, 1],
  async run(ctl, parsed) {
    const [tail, since] = [tailOf(parsed), sinceOf(parsed, ctl.now())];
    const { status } = await ctl.client.ContainerStatus({ containerId: parsed.args[0] }, ctl.call());
    if (!status?.logPath) {
      throw new CrispError('FailedPrecondition', `container ${parsed.args[0]} has no log`, {
        hint: 'create it with a log_path, in a pod with a log_directory',
      });
    }
    const options: LogOptions = {
      signal: ctl.signal,
      ...(tail === undefined ? {} : { tail }),
      ...(since === undefined ? {} : { since }),
      ...(parsed.has('follow') ? { finished: () => hasEnded(ctl, status.id) } : {}),
    };
    await printLog(ctl, status.logPath, options, parsed.has('timestamps'));
    return 0;
  },
};
