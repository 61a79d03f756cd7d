/** Profiles crisp: the stages of the calls, and a CPU profile of the daemon. */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { podSteps } from '../cli/trace.ts';
import { type Step, waterfallSvg, waterfallText, withGaps } from '../cli/waterfall.ts';
import type { BenchOptions } from './options.ts';
import { Pods, removePod, stopContainer } from './pods.ts';
import { type BenchEnvironment, startCrisp } from './sides.ts';
import { quantile } from './statistics.ts';

const FUNCTIONS = 25;
/** The first pods load code and create the bridge. */
const WARM_UP = 3;

/** Medians of each stage by call; a pod's waterfall and the daemon's profile go to the directory. */
export async function profile(
  environment: BenchEnvironment,
  directory: string,
  options: BenchOptions,
): Promise<void> {
  const raw = join(environment.directory, 'cpu-profile');
  const side = await startCrisp(environment, 'crisp', `--cpu-prof --cpu-prof-dir=${raw}`);
  const runs: Step[][] = [];
  try {
    const pods = new Pods(environment);
    await pods.pull(side);
    for (let n = 0; n < options.rounds * options.podsPerRound + WARM_UP; n++) {
      const id = await pods.run(side);
      const { containers } = await side.server.client.ListContainers({ filter: { podSandboxId: id } });
      const containerId = containers[0]?.id ?? '';
      await stopContainer(side, containerId);
      await side.server.client.RemoveContainer({ containerId });
      await side.server.client.StopPodSandbox({ podSandboxId: id });
      if (n >= WARM_UP) runs.push(await podSteps(side.server.client, id));
      await removePod(side, id);
    }
  } finally {
    await side.server.stop();
  }
  mkdirSync(directory, { recursive: true });
  console.log(`\n${environment.runtime}: medians of ${runs.length} pods, in ms\n${stageTable(runs)}`);
  const last = runs.at(-1) ?? [];
  console.log(`the last pod\n${waterfallText(last)}`);
  const name = `profile-${environment.runtime}`;
  writeFileSync(join(directory, `${name}.svg`), waterfallSvg(`pod of crisp, ${environment.runtime}`, last));
  keepProfile(raw, join(directory, `${name}.cpuprofile`));
}

function stageTable(runs: readonly (readonly Step[])[]): string {
  const times = new Map<string, number[]>();
  const add = (key: string, ms: number) => times.set(key, [...(times.get(key) ?? []), ms]);
  for (const step of runs.flat()) {
    const call = step.title.split(' ')[0] ?? '';
    const sums = new Map([[`${call}`, step.ms]]);
    for (const stage of withGaps(step)) {
      const key = `${call}  ${stage.name} ${stage.detail.length < 24 ? stage.detail : ''}`.trimEnd();
      sums.set(key, (sums.get(key) ?? 0) + stage.to - stage.from);
    }
    for (const [key, ms] of sums) add(key, ms);
  }
  const lines = [...times].map(([key, samples]) => {
    const [p50, p90] = [quantile(samples, 0.5), quantile(samples, 0.9)];
    return `  ${key.padEnd(48)} ${p50.toFixed(2).padStart(8)} ${p90.toFixed(2).padStart(8)}  n ${samples.length}`;
  });
  return lines.join('\n');
}

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  /** Microseconds between samples. */
  readonly timeDeltas: readonly number[];
}

/** Node writes one file for each thread: the main thread's has the most samples. */
function keepProfile(raw: string, target: string): void {
  const profiles = readdirSync(raw).map((file) => {
    const path = join(raw, file);
    return { path, profile: JSON.parse(readFileSync(path, 'utf8')) as CpuProfile };
  });
  const main = profiles.toSorted((a, b) => b.profile.samples.length - a.profile.samples.length)[0];
  if (!main) return;
  console.log(`${busiest(main.profile)}\n`);
  copyFileSync(main.path, target);
}

function busiest({ nodes, samples, timeDeltas }: CpuProfile): string {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const spent = new Map<string, number>();
  let idle = 0;
  let busy = 0;
  for (const [index, id] of samples.entries()) {
    const ms = (timeDeltas[index] ?? 0) / 1000;
    const frame = frames.get(id);
    if (!frame || frame.functionName === '(idle)') idle += ms;
    else {
      busy += ms;
      const key = `${frame.functionName || '(anonymous)'} ${basename(frame.url)}:${frame.lineNumber + 1}`;
      spent.set(key, (spent.get(key) ?? 0) + ms);
    }
  }
  const lines = [...spent]
    .sort((a, b) => b[1] - a[1])
    .slice(0, FUNCTIONS)
    .map(([key, ms]) => `  ${ms.toFixed(0).padStart(6)} ms  ${key}`);
  return [`main thread: busy ${busy.toFixed(0)} ms, idle ${idle.toFixed(0)} ms; self time`, ...lines].join(
    '\n',
  );
}
