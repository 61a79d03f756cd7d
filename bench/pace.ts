/** How often each part is repeated: for a number of rounds, or in the nightly form until its minutes have passed. */
import type { BenchOptions } from './options.ts';

/** What is repeated by itself. */
export type Section =
  | 'pods'
  | 'density'
  | 'usage'
  | 'streaming'
  | 'full-node'
  | 'idle'
  | 'pulls'
  | 'pulls underway'
  | 'many-files'
  | 'feel'
  | 'nri';

/**
 * Minutes of the nightly form, for both sides: with the pods, images and daemons that the sections need before they begin, and their last
 * rounds, which end after the time, about 40 with two OCI runtimes. The first four are measured with each runtime.
 */
export const NIGHTLY: Readonly<Record<Section, number>> = {
  pods: 2,
  density: 3.5,
  usage: 1,
  streaming: 0.5,
  'full-node': 3,
  idle: 3,
  pulls: 4,
  'pulls underway': 3,
  'many-files': 3,
  feel: 1.5,
  nri: 2,
};

/** A round of idle daemons takes a minute, of pulls at once and down mirrors two, of many files two. */
const MAX_LONG = 5;
/** Samples of the stats for each of the other rounds: both sides run, and samples alternate. */
const STATS_PER_ROUND = 5;
/** Pods of each daemon for each of the other rounds: a hundredth of a pod's start is to be seen. */
const NRI_PER_ROUND = 40;

function countOf(section: Section, { rounds, pulls }: BenchOptions): number {
  if (section === 'full-node') return 1;
  if (section === 'usage') return rounds * STATS_PER_ROUND;
  if (section === 'nri') return rounds * NRI_PER_ROUND;
  if (section === 'pulls') return pulls;
  if (section === 'pulls underway' || section === 'many-files') return Math.min(pulls, MAX_LONG);
  return section === 'idle' || section === 'feel' ? Math.min(rounds, MAX_LONG) : rounds;
}

/** The numbers of the rounds, from 0; at least one where the options ask for any. `now` is in ms. */
export function* roundsOf(
  section: Section,
  options: BenchOptions,
  now: () => number = () => performance.now(),
): Generator<number, void> {
  const isNightly = options.form === 'nightly';
  const count = isNightly ? Infinity : countOf(section, options);
  const end = now() + NIGHTLY[section] * 60_000;
  for (let round = 0; round < count && (round === 0 || !isNightly || now() < end); round += 1) yield round;
}

/** For the log: how long a section goes on. */
export const paceOf = (section: Section, options: BenchOptions): string =>
  options.form === 'nightly' ? `${NIGHTLY[section]} minutes` : `${countOf(section, options)} rounds`;
