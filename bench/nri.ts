/**
 * What NRI costs the start of a pod: three daemons of crisp, one without it, one with it, one with a plugin in a process of its own.
 * Each round has one pod of each, so that what the machine does otherwise falls upon all three.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import { type Mode, modes, type NriRow, nriRows, orderOf, type PodStarts } from './nri-results.ts';
import type { BenchOptions } from './options.ts';
import { paceOf, roundsOf } from './pace.ts';
import { Pods, removePod } from './pods.ts';
import { directoriesOf } from './running-side.ts';
import { type BenchEnvironment, type Side, startCrisp } from './sides.ts';

const PLUGIN = join(import.meta.dirname, 'nri-plugin.ts');
/** For its connection, or an answer. */
const PLUGIN_MS = 30_000;

const nameOf = (mode: Mode): string => `nri-${mode.replace(' ', '-')}`;

/** The process of the plugin. */
class PluginProcess implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Throws Unavailable where the daemon does not synchronise it. */
  static async start(socket: string): Promise<PluginProcess> {
    const child = fork(PLUGIN, [socket], { execArgv: ['--disable-warning=ExperimentalWarning'] });
    const plugin = new PluginProcess(child);
    await plugin.#message();
    return plugin;
  }

  /** Containers that it was asked about before they started. */
  async seen(): Promise<number> {
    this.#child.send('how many');
    return Number(await this.#message());
  }

  async #message(): Promise<unknown> {
    const ended = new AbortController();
    this.#child.once('exit', () => ended.abort());
    try {
      const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(PLUGIN_MS)]);
      const [message] = await once(this.#child, 'message', { signal });
      return message;
    } catch (error) {
      this.#child.kill('SIGKILL');
      throw new CrispError('Unavailable', 'the plugin of the bench has ended or does not answer', {
        cause: error,
        hint: "see the lines above, and the daemon's log",
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}

async function podStart(side: Side, pods: Pods): Promise<number> {
  const started = performance.now();
  const id = await pods.run(side);
  const ms = performance.now() - started;
  await removePod(side, id);
  return ms;
}

/** One pod more, in the order of the round. */
async function startsOf(round: number, sides: ReadonlyMap<Mode, Side>, pods: Pods): Promise<PodStarts> {
  const starts = { off: 0, 'no plugin': 0, 'one plugin': 0 };
  for (const mode of orderOf(round)) starts[mode] = await podStart(sides.get(mode) as Side, pods);
  return starts;
}

/** Throws Internal where the plugin has not been asked about each of its pods: nothing would have been measured. */
export async function nriCost(
  environment: BenchEnvironment,
  options: BenchOptions,
  log: (text: string) => void,
): Promise<NriRow[]> {
  // The way of the network that is the default: it takes less, and varies less.
  const native = { ...environment, network: 'native' } as const;
  const sides = new Map<Mode, Side>();
  try {
    const pods = new Pods(native);
    for (const mode of modes) {
      const side = await startCrisp({ ...native, nri: mode !== 'off' }, nameOf(mode));
      sides.set(mode, side);
      await pods.pull(side);
    }
    const { state } = directoriesOf(native, nameOf('one plugin'));
    await using plugin = await PluginProcess.start(join(state, 'nri.sock'));
    await startsOf(0, sides, pods); // the first pod creates the bridge and warms the caches
    const before = await plugin.seen();
    log(`${environment.runtime}: ${paceOf('nri', options)} of a pod without NRI, with it, and with a plugin`);
    const rounds: PodStarts[] = [];
    for (const round of roundsOf('nri', options)) rounds.push(await startsOf(round, sides, pods));
    const seen = (await plugin.seen()) - before;
    if (seen !== rounds.length)
      throw new CrispError('Internal', `the plugin was asked about ${seen} of ${rounds.length} containers`);
    return nriRows(rounds);
  } finally {
    for (const { server } of sides.values()) await server.stop();
  }
}
