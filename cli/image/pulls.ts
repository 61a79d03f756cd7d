/** `crisp image pulls`: what the daemon pulls now. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningPull } from '#api/admin/contract.ts';
import type { Command } from '../command.ts';
import { exitCodes } from '../help.ts';
import { LiveRegion, sizeOf } from '../live-region.ts';
import { jsonText, outputFlag, outputOf, TEXT_OR_JSON } from '../output.ts';
import { pullsTable, runningPulls } from '../running-pulls.ts';
import { adminFlags, adminSocketOf, type ImageContext } from './context.ts';

const WATCH_MS = 500;

export const pulls: Command<ImageContext> = {
  name: 'pulls',
  usage: '[--watch] [--output json]',
  summary: 'Show the pulls that run now: stage, layers, bytes, rate, endpoint, waiting callers',
  flags: {
    watch: { type: 'boolean', short: 'w', doc: 'Show them again and again, until interrupted' },
    ...outputFlag(TEXT_OR_JSON, 'Output format; with --watch, JSON is one document on each line'),
    ...adminFlags,
  },
  arity: [0, 0],
  exits: exitCodes([['0', 'success, also when a --watch is interrupted']]),
  async run(context, parsed) {
    const { terminal, signal } = context;
    const socket = await adminSocketOf(context, parsed);
    const list = () => runningPulls(socket, undefined, signal);
    const isJson = outputOf(parsed, TEXT_OR_JSON) === 'json';
    if (parsed.has('watch')) await watch(list, displayOf(context, isJson), signal);
    else terminal.out(isJson ? jsonText(await list()) : pullsTable(await list()));
    return 0;
  },
};

/** A terminal shows them in place; a pipe gets what has changed. */
function displayOf({ terminal }: ImageContext, isJson: boolean): (list: readonly RunningPull[]) => void {
  if (!isJson && process.stdout.isTTY) {
    const region = new LiveRegion(terminal.out, () => sizeOf(process.stdout));
    return (list) => region.draw([...pullsTable(list).split('\n')]);
  }
  let last = '';
  return (list) => {
    const text = isJson ? `${JSON.stringify(list)}\n` : pullsTable(list);
    if (text !== last) terminal.out(text);
    last = text;
  };
}

async function watch(
  list: () => Promise<readonly RunningPull[]>,
  display: (list: readonly RunningPull[]) => void,
  signal: AbortSignal,
): Promise<void> {
  try {
    for (;;) {
      display(await list());
      await sleep(WATCH_MS, undefined, { signal });
    }
  } catch (error) {
    if (!signal.aborted) throw error; // an interrupt is how it ends
  }
}
