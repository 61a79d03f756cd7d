/** `crisp trace POD`: the stages of a pod's start. The daemon keeps them and returns them in a verbose status. */
import { writeFileSync } from 'node:fs';
import { type CriClient, connectCri } from '#api/cri/v1/client.ts';
import type { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { Parsed } from './command.ts';
import { pick, type Terminal } from './ctl/context.ts';
import { socketPath } from './ctl.ts';
import { DEFAULT_ENDPOINT } from './ctl-flags.ts';
import { jsonText, outputOf, TEXT_OR_JSON } from './output.ts';
import { type Stage, type Step, waterfallSvg, waterfallText } from './waterfall.ts';

interface Trace {
  readonly name: string;
  readonly containerId: string;
  readonly ms: number;
  readonly failed: boolean;
  readonly stages: readonly Stage[];
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

function isStage(value: unknown): value is Stage {
  if (!isRecord(value)) return false;
  const { name, detail, from, to, failed } = value;
  const texts = typeof name === 'string' && typeof detail === 'string' && typeof failed === 'boolean';
  return texts && Number.isFinite(from) && Number.isFinite(to);
}

function isTrace(value: unknown): value is Trace {
  if (!isRecord(value)) return false;
  const { name, containerId, ms, failed, stages } = value;
  const texts = typeof name === 'string' && typeof containerId === 'string' && typeof failed === 'boolean';
  return texts && Number.isFinite(ms) && Array.isArray(stages) && stages.every(isStage);
}

/** The traces of a verbose status. Throws FailedPrecondition where the server has none: it may be another runtime. */
export function parseTraces(text: string | undefined): Trace[] {
  let traces: unknown;
  try {
    traces = JSON.parse(text ?? '');
  } catch {
    // Reported below.
  }
  if (Array.isArray(traces) && traces.every(isTrace)) return traces;
  throw new CrispError('FailedPrecondition', 'the server returned no trace of this pod', {
    hint: 'only crisp keeps traces: check --runtime-endpoint',
  });
}

function stepsOf(traces: readonly Trace[], containers: readonly cri.ContainerStatus[]): Step[] {
  const names = new Map(containers.map(({ id, metadata }) => [id, metadata?.name ?? '']));
  return traces.map(({ name, containerId, ms, failed, stages }) => {
    const title = containerId === '' ? name : `${name} ${names.get(containerId) ?? containerId.slice(0, 13)}`;
    return { title, ms, failed, stages };
  });
}

/** The operations of a pod that the daemon keeps traces of, oldest first. */
export async function podSteps(client: CriClient, podSandboxId: string): Promise<Step[]> {
  const { info, containersStatuses } = await client.PodSandboxStatus({ podSandboxId, verbose: true });
  return stepsOf(parseTraces(info['trace']), containersStatuses);
}

/** Prints the waterfall of a pod, found by id, id prefix, or name. */
export async function trace(parsed: Parsed, terminal: Terminal): Promise<number> {
  const format = outputOf(parsed, TEXT_OR_JSON);
  const endpoint =
    parsed.text('runtime-endpoint') ?? (process.env['CONTAINER_RUNTIME_ENDPOINT'] || DEFAULT_ENDPOINT);
  using client = connectCri(socketPath(endpoint), { maxReceive: -1 });
  const { items } = await client.ListPodSandbox({});
  const wanted = parsed.args[0] ?? '';
  const pod = items.find(({ metadata }) => metadata?.name === wanted) ?? pick(items, wanted);
  const steps = await podSteps(client, pod.id);
  if (steps.length === 0) {
    throw new CrispError('NotFound', `pod ${pod.id.slice(0, 13)}: the daemon has no trace of it`, {
      hint: 'traces are lost when the daemon restarts, and the oldest are dropped',
    });
  }
  terminal.out(format === 'json' ? jsonText({ pod: pod.id, operations: steps }) : waterfallText(steps));
  const file = parsed.text('svg');
  if (file !== undefined)
    writeSvg(file, waterfallSvg(`${pod.metadata?.name ?? ''} ${pod.id.slice(0, 13)}`, steps));
  return 0;
}

function writeSvg(file: string, document: string): void {
  try {
    writeFileSync(file, document);
  } catch (error) {
    throw new CrispError('InvalidArgument', `--svg ${file} cannot be written`, {
      cause: error,
      hint: 'name a writable file',
    });
  }
}
