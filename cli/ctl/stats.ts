/** `crisp ctl stats`, `statsp` and `metricsp`: resource usage of containers and pods. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type cri, toBigInt, toJson } from '#api/cri/v1/index.ts';
import { type Command, type Parsed, UsageError } from '../command.ts';
import { renderDocument } from '../documents.ts';
import { bytes, shortId } from '../format.ts';
import { outputFlag, outputOf } from '../output.ts';
import {
  type Ctl,
  DOCUMENT_FORMATS,
  LIST_FORMATS,
  labelFlag,
  labelsOf,
  noTruncFlag,
  printList,
  secondsOf,
} from './context.ts';

const secondsFlag = {
  seconds: {
    type: 'string',
    short: 's',
    value: 'SECONDS',
    doc: 'Time between the two samples of CPU %; default 1',
  },
} as const;

type Wrapped = cri.UInt64Value | null | undefined;
const amount = (value: Wrapped): string => (value ? bytes(toBigInt(value.value)) : '-');
const count = (value: Wrapped): string => (value ? toBigInt(value.value).toString() : '-');

interface Stats {
  readonly attributes: { readonly id: string; readonly metadata: { readonly name: string } | null } | null;
}

/** Percent of one core between two samples; `-` where one of them has no value. */
function share(before: cri.CpuUsage | null | undefined, after: cri.CpuUsage | null | undefined): string {
  const span = Number(toBigInt(after?.timestamp) - toBigInt(before?.timestamp));
  if (!before?.usageCoreNanoSeconds || !after?.usageCoreNanoSeconds || span <= 0) return '-';
  const used = toBigInt(after.usageCoreNanoSeconds.value) - toBigInt(before.usageCoreNanoSeconds.value);
  return ((Number(used) * 100) / span).toFixed(2);
}

/** Takes two samples; the first is returned by id. */
async function sampleTwice<S extends Stats>(
  ctl: Ctl,
  parsed: Parsed,
  sample: () => Promise<readonly S[]>,
): Promise<{ before: ReadonlyMap<string, S>; after: readonly S[] }> {
  const seconds = secondsOf(parsed, 'seconds', 1);
  const first = await sample();
  const before = new Map(first.map((stats) => [stats.attributes?.id ?? '', stats]));
  if (seconds === 0) return { before: new Map(), after: first };
  await sleep(seconds * 1000, undefined, { signal: ctl.signal });
  return { before, after: await sample() };
}

export const stats: Command<Ctl> = {
  name: 'stats',
  usage: '[CONTAINER]',
  summary: 'Show resource usage of running containers',
  flags: {
    pod: { type: 'string', short: 'p', value: 'POD', doc: 'Only containers of this pod' },
    ...labelFlag,
    ...secondsFlag,
    ...noTruncFlag,
    ...outputFlag(LIST_FORMATS),
  },
  arity: [0, 1],
  async run(ctl, parsed) {
    const filter = {
      id: parsed.args[0] ?? '',
      podSandboxId: parsed.text('pod') ?? '',
      labelSelector: labelsOf(parsed),
    };
    const sample = async () => (await ctl.client.ListContainerStats({ filter }, ctl.call())).stats;
    const { before, after } = await sampleTwice(ctl, parsed, sample);
    if (parsed.args[0] && after.length === 0) throw new UsageError('no running container has this id');
    const short = parsed.has('no-trunc') ? (id: string) => id : shortId;
    printList(ctl, parsed, {
      items: after,
      quiet: ({ attributes }) => attributes?.id ?? '',
      document: () => ({ stats: after.map((item) => toJson('ContainerStats', item)) }),
      columns: [
        ['CONTAINER', ({ attributes }) => short(attributes?.id ?? '')],
        ['NAME', ({ attributes }) => attributes?.metadata?.name ?? ''],
        ['CPU %', ({ attributes, cpu }) => share(before.get(attributes?.id ?? '')?.cpu, cpu)],
        ['MEM', ({ memory }) => amount(memory?.workingSetBytes)],
        ['SWAP', ({ swap }) => amount(swap?.swapUsageBytes)],
        ['DISK', ({ writableLayer }) => amount(writableLayer?.usedBytes)],
        ['INODES', ({ writableLayer }) => count(writableLayer?.inodesUsed)],
      ],
    });
    return 0;
  },
};

export const statsp: Command<Ctl> = {
  name: 'statsp',
  usage: '[POD]',
  summary: 'Show resource usage of ready pods',
  flags: { ...labelFlag, ...secondsFlag, ...noTruncFlag, ...outputFlag(LIST_FORMATS) },
  arity: [0, 1],
  async run(ctl, parsed) {
    const filter = { id: parsed.args[0] ?? '', labelSelector: labelsOf(parsed) };
    const sample = async () => (await ctl.client.ListPodSandboxStats({ filter }, ctl.call())).stats;
    const { before, after } = await sampleTwice(ctl, parsed, sample);
    if (parsed.args[0] && after.length === 0) throw new UsageError('no ready pod has this id');
    const short = parsed.has('no-trunc') ? (id: string) => id : shortId;
    const link = ({ linux }: cri.PodSandboxStats) => linux?.network?.defaultInterface;
    printList(ctl, parsed, {
      items: after,
      quiet: ({ attributes }) => attributes?.id ?? '',
      document: () => ({ stats: after.map((item) => toJson('PodSandboxStats', item)) }),
      columns: [
        ['POD ID', ({ attributes }) => short(attributes?.id ?? '')],
        ['POD', ({ attributes }) => attributes?.metadata?.name ?? ''],
        ['CPU %', ({ attributes, linux }) => share(before.get(attributes?.id ?? '')?.linux?.cpu, linux?.cpu)],
        ['MEM', ({ linux }) => amount(linux?.memory?.workingSetBytes)],
        ['RECEIVED', (item) => amount(link(item)?.rxBytes)],
        ['SENT', (item) => amount(link(item)?.txBytes)],
        ['PROCESSES', ({ linux }) => count(linux?.process?.processCount)],
      ],
    });
    return 0;
  },
};

export const metricsp: Command<Ctl> = {
  name: 'metricsp',
  usage: '',
  summary: 'Show the metrics of all pods and containers',
  flags: {
    descriptors: { type: 'boolean', short: 'd', doc: 'Names and labels of the metrics' },
    ...outputFlag(DOCUMENT_FORMATS),
  },
  arity: [0, 0],
  async run(ctl, parsed) {
    const format = outputOf(parsed, DOCUMENT_FORMATS);
    const document = parsed.has('descriptors')
      ? toJson('ListMetricDescriptorsResponse', await ctl.client.ListMetricDescriptors({}, ctl.call()))
      : toJson('ListPodSandboxMetricsResponse', await ctl.client.ListPodSandboxMetrics({}, ctl.call()));
    ctl.terminal.out(renderDocument(document, format));
    return 0;
  },
};
