/**
 * The files of the results: one of the last run of each network and peer, its chart, and the history of all. By itself this draws the
 * charts anew: `node bench/result-files.ts`.
 */
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chart } from './chart.ts';
import { historyText, type PastRun, pastRun, withRun } from './history.ts';
import type { Results } from './results.ts';

const HISTORY = 'history.json';

/** `latest` has the results with every plugin run, beside containerd. */
export const nameOf = ({ network, peer = 'containerd' }: Pick<Results, 'network' | 'peer'>): string =>
  ['latest', ...(peer === 'containerd' ? [] : [peer]), ...(network === 'exec' ? [] : [network])].join('-');

export function readHistory(directory: string): PastRun[] {
  const file = join(directory, HISTORY);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as PastRun[]) : [];
}

/** Replaces the last results of the same network and peer. Returns the path of the JSON. */
export function writeResults(directory: string, results: Results): string {
  mkdirSync(directory, { recursive: true });
  const history = withRun(readHistory(directory), pastRun(results));
  writeFileSync(join(directory, HISTORY), historyText(history));
  const base = join(directory, nameOf(results));
  writeFileSync(`${base}.json`, `${JSON.stringify(results, undefined, 2)}\n`);
  writeFileSync(`${base}.svg`, chart(results, history));
  return `${base}.json`;
}

/** Each chart, by its path, as the JSON files and the history give it. */
export const chartsOf = (directory: string): readonly (readonly [path: string, svg: string])[] =>
  globSync(join(directory, 'latest*.json')).map((file) => [
    file.replace(/\.json$/, '.svg'),
    chart(JSON.parse(readFileSync(file, 'utf8')) as Results, readHistory(directory)),
  ]);

if (import.meta.main)
  for (const [path, svg] of chartsOf(join(import.meta.dirname, 'results'))) writeFileSync(path, svg);
