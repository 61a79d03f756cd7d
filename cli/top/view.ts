/** The text of `crisp top`: a line of the daemon, one of the sums, and a table. */
import { bytes, printable, shortId } from '../format.ts';
import { duration } from '../running-pulls.ts';
import { renderTable } from '../table.ts';
import type { SORTS } from '../top-flags.ts';
import type { DaemonUsage, PodUsage, Sample, Usage } from './sample.ts';

export interface ViewOptions {
  readonly sort: (typeof SORTS)[number];
  readonly podsOnly: boolean;
}

interface Row extends Usage {
  readonly id: string;
  readonly state: string;
  readonly title: string;
}

const size = (count: number | undefined): string =>
  count === undefined ? '-' : bytes(BigInt(Math.round(count)));
const percentText = (percent: number | undefined): string =>
  percent === undefined ? '-' : percent.toFixed(1);

const VALUES = {
  cpu: ({ cpuPercent }: Usage) => cpuPercent,
  memory: ({ memoryBytes }: Usage) => memoryBytes,
  processes: ({ processes }: Usage) => processes,
  restarts: ({ restarts }: Usage) => restarts,
} as const;

/** The largest first, those without a value last, equal ones by name: rows must not jump about. */
function sorted<T extends Usage>(items: readonly T[], sort: ViewOptions['sort']): T[] {
  const value = (item: T): number => (sort === 'name' ? 0 : (VALUES[sort](item) ?? -1));
  return items.toSorted((a, b) => value(b) - value(a) || (a.name < b.name ? -1 : Number(a.name > b.name)));
}

function daemonLine(daemon: DaemonUsage | undefined): string {
  if (!daemon) return 'Daemon: no reply from the admin socket';
  const { version, pid, uptimeSeconds, ready, operations, pulls, troubles, memoryBytes } = daemon;
  const facts = [
    `crisp ${version}`,
    `pid ${pid}`,
    `up ${duration(uptimeSeconds * 1000)}`,
    ready ? 'ready' : 'not ready: see crisp status',
    ...(troubles > 0 ? [`${troubles} troubles: see crisp status`] : []),
    `${operations} calls`,
    `${pulls} pulls`,
    size(memoryBytes),
  ];
  return printable(`Daemon: ${facts.join(', ')}`);
}

/** `undefined` where no item has a value. */
function sum(items: readonly Usage[], value: (item: Usage) => number | undefined): number | undefined {
  const values = items.flatMap((item) => value(item) ?? []);
  return values.length > 0 ? values.reduce((total, one) => total + one, 0) : undefined;
}

function sumLine(pods: readonly PodUsage[]): string {
  const all = pods.flatMap(({ containers }) => containers);
  const running = all.filter(({ state }) => state === 'running').length;
  return [
    `Pods: ${pods.length} ready`,
    `containers: ${running} running, ${all.length - running} not`,
    `CPU ${percentText(sum(pods, VALUES.cpu))} %`,
    `memory ${size(sum(pods, VALUES.memory))}`,
    `${sum(pods, VALUES.processes) ?? '-'} processes`,
  ].join(', ');
}

/** Lines without control characters, whatever names the runtime returns. */
export function topLines({ daemon, pods }: Sample, { sort, podsOnly }: ViewOptions): string[] {
  const rows = sorted(pods, sort).flatMap((pod): Row[] => [
    { ...pod, title: `${pod.namespace}/${pod.name}`, state: 'ready' },
    ...(podsOnly ? [] : sorted(pod.containers, sort)).map((item) => ({ ...item, title: `  ${item.name}` })),
  ]);
  // A terminal cuts what does not fit: what identifies a row comes before its details.
  const table = renderTable<Row>(
    [
      ['CPU %', ({ cpuPercent }) => percentText(cpuPercent)],
      ['MEM', ({ memoryBytes }) => size(memoryBytes)],
      ['PROCS', ({ processes }) => String(processes ?? '-')],
      ['RESTARTS', ({ restarts }) => String(restarts)],
      ['NAME', ({ title }) => title],
      ['STATE', ({ state }) => state],
      ['ID', ({ id }) => shortId(id)],
    ],
    rows,
  );
  return [daemonLine(daemon), sumLine(pods), '', ...table.trimEnd().split('\n')];
}
