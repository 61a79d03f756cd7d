/** `crisp top`: the usage of pods and containers, again and again. */
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DaemonStatus } from '#api/admin/contract.ts';
import { type CriClient, connectCri } from '#api/cri/v1/client.ts';
import { describeError } from '#core/errors.ts';
import { type Parsed, UsageError } from './command.ts';
import { secondsOf, type Terminal } from './ctl/context.ts';
import { socketPath } from './ctl.ts';
import { DEFAULT_ENDPOINT } from './ctl-flags.ts';
import { printable } from './format.ts';
import { LiveRegion, sizeOf } from './live-region.ts';
import { jsonText, outputOf, TEXT_OR_JSON } from './output.ts';
import { daemonStatus } from './status.ts';
import { type Replies, type Sample, sampleOf } from './top/sample.ts';
import { topLines } from './top/view.ts';
import { SORTS } from './top-flags.ts';

const DEFAULT_SECONDS = 2;
const CALL_MS = 30_000;

interface Source {
  readonly client: CriClient;
  readonly adminSocket: string;
  readonly signal: AbortSignal;
}

/** Resolves to the exit code, also when a live view is interrupted. Throws where the runtime does not answer at first. */
export async function top(parsed: Parsed, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const endpoint =
    parsed.text('runtime-endpoint') ?? (process.env['CONTAINER_RUNTIME_ENDPOINT'] || DEFAULT_ENDPOINT);
  const path = socketPath(endpoint);
  const adminSocket =
    parsed.text('admin-socket') ?? (process.env['CRISP_ADMIN_SOCKET'] || join(dirname(path), 'admin.sock'));
  const format = outputOf(parsed, TEXT_OR_JSON);
  const isOnce = parsed.has('once') || format === 'json';
  const seconds = secondsOf(parsed, 'seconds', DEFAULT_SECONDS);
  if (seconds === 0 && !isOnce)
    throw new UsageError('crisp top: --seconds 0 is for one sample only', 'add --once, or name a time');
  using client = connectCri(path, { maxReceive: -1 });
  const source: Source = { client, adminSocket, signal };
  const options = { sort: sortOf(parsed), podsOnly: parsed.has('pods') };
  const lines = (sample: Sample) => topLines(sample, options);
  if (isOnce) {
    const sample = await sampleOnce(source, seconds);
    terminal.out(format === 'json' ? jsonText(sample) : `${lines(sample).join('\n')}\n`);
  } else await live(source, { seconds, lines, display: displayOf(terminal) });
  return 0;
}

const sortOf = (parsed: Parsed): (typeof SORTS)[number] =>
  SORTS.find((sort) => sort === parsed.text('sort')) ?? SORTS[0];

async function ask({ client, adminSocket, signal }: Source): Promise<Replies> {
  const settings = { signal, timeoutMs: CALL_MS };
  const limit = AbortSignal.timeout(CALL_MS);
  const limited = signal ? AbortSignal.any([signal, limit]) : limit;
  const [{ stats }, { containers }, daemon] = await Promise.all([
    client.ListPodSandboxStats({}, settings),
    client.ListContainers({}, settings),
    daemonStatus(adminSocket, limited).catch((error: unknown): DaemonStatus | undefined => {
      if (signal?.aborted) throw error;
      return undefined;
    }),
  ]);
  return { stats, containers, daemon };
}

/** CPU % needs two points in time; 0 seconds: only one, without it. */
async function sampleOnce(source: Source, seconds: number): Promise<Sample> {
  const first = await ask(source);
  if (seconds === 0) return sampleOf(undefined, first);
  await sleep(seconds * 1000, undefined, { signal: source.signal });
  return sampleOf(first, await ask(source));
}

/** A terminal shows them in place, a pipe one after the other. */
function displayOf(terminal: Terminal): (lines: readonly string[]) => void {
  if (!process.stdout.isTTY) return (lines) => terminal.out(`${lines.join('\n')}\n\n`);
  const region = new LiveRegion(terminal.out, () => sizeOf(process.stdout));
  // The cursor stays on a line of its own, so that what the shell prints in the end does.
  return (lines) => region.draw([...lines.slice(0, Math.max(1, sizeOf(process.stdout).rows - 2)), '']);
}

interface LiveView {
  readonly seconds: number;
  readonly lines: (sample: Sample) => readonly string[];
  readonly display: (lines: readonly string[]) => void;
}

/** Until interrupted. The view stays while the daemon is restarted, as for an upgrade. */
async function live(source: Source, { seconds, lines, display }: LiveView): Promise<void> {
  const { signal } = source;
  let last: Replies | undefined;
  try {
    for (;;) {
      try {
        const now = await ask(source);
        display(lines(sampleOf(last, now)));
        last = now;
      } catch (error) {
        if (!last || signal.aborted) throw error;
        display([
          `No reply: ${printable(describeError(error))}; trying again`,
          ...lines(sampleOf(last, last)),
        ]);
      }
      await sleep(seconds * 1000, undefined, { signal });
    }
  } catch (error) {
    if (!signal.aborted) throw error; // an interrupt is how it ends
  }
}
