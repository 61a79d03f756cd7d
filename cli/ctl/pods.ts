/** `crisp ctl` on pods: runp, pods, inspectp, stopp, rmp. */
import { cri, toBigInt, toJson } from '#api/cri/v1/index.ts';
import { type Command, type Parsed, UsageError } from '../command.ts';
import { readMessage, renderDocument } from '../documents.ts';
import { age, shortId } from '../format.ts';
import { jsonText, outputFlag, outputOf, TEXT_OR_JSON } from '../output.ts';
import {
  type Ctl,
  DOCUMENT_FORMATS,
  forEachTarget,
  LIST_FORMATS,
  labelFlag,
  labelsOf,
  noTruncFlag,
  patternOf,
  pick,
  printList,
  quietFlag,
  TARGET_EXITS,
} from './context.ts';
import { statusDocument } from './status-document.ts';

/** The kubelet's own limit is twice that of other calls. */
const RUN_EXTRA_MS = 120_000;

export const runp: Command<Ctl> = {
  name: 'runp',
  usage: 'POD-FILE',
  summary: 'Run a new pod; prints its id',
  flags: {
    runtime: { type: 'string', short: 'r', value: 'HANDLER', doc: 'Runtime handler' },
    ...outputFlag(TEXT_OR_JSON),
  },
  arity: [1, 1],
  async run(ctl, parsed) {
    const format = outputOf(parsed, TEXT_OR_JSON);
    const config = await readMessage('PodSandboxConfig', parsed.args[0] ?? '');
    const request = { config, runtimeHandler: parsed.text('runtime') ?? '' };
    const { podSandboxId } = await ctl.client.RunPodSandbox(request, ctl.call(RUN_EXTRA_MS));
    ctl.terminal.out(format === 'json' ? jsonText({ podSandboxId }) : `${podSandboxId}\n`);
    return 0;
  },
};

const STATES: Readonly<Record<string, number>> = {
  ready: cri.PodSandboxState.SANDBOX_READY,
  notready: cri.PodSandboxState.SANDBOX_NOTREADY,
};

function filterOf(parsed: Parsed): cri.PodSandboxFilterInit {
  const state = parsed.text('state');
  const number = state === undefined ? undefined : STATES[state.toLowerCase()];
  if (state !== undefined && number === undefined)
    throw new UsageError(`--state must be ready or notready, not '${state}'`);
  return {
    id: parsed.text('id'),
    labelSelector: labelsOf(parsed),
    ...(number === undefined ? {} : { state: { state: number } }),
  };
}

export const byNewest = (a: { createdAt: cri.PodSandbox['createdAt'] }, b: typeof a): number =>
  Number(toBigInt(b.createdAt) - toBigInt(a.createdAt));

export const pods: Command<Ctl> = {
  name: 'pods',
  usage: '',
  summary: 'List pods',
  flags: {
    id: { type: 'string', value: 'POD', doc: 'Only the pod of this id' },
    name: { type: 'string', value: 'REGEX', doc: 'Only pods whose name matches' },
    namespace: { type: 'string', value: 'REGEX', doc: 'Only pods whose namespace matches' },
    state: { type: 'string', short: 's', value: 'ready|notready', doc: 'Only pods in this state' },
    ...labelFlag,
    latest: { type: 'boolean', short: 'l', doc: 'Only the newest pod' },
    ...quietFlag,
    ...noTruncFlag,
    verbose: { type: 'boolean', short: 'v', doc: 'Everything, as YAML' },
    ...outputFlag(LIST_FORMATS),
  },
  arity: [0, 0],
  async run(ctl, parsed) {
    const [name, namespace] = [patternOf(parsed, 'name'), patternOf(parsed, 'namespace')];
    const reply = await ctl.client.ListPodSandbox({ filter: filterOf(parsed) }, ctl.call());
    const matching = reply.items
      .filter(
        ({ metadata }) =>
          (name?.test(metadata?.name ?? '') ?? true) && (namespace?.test(metadata?.namespace ?? '') ?? true),
      )
      .sort(byNewest);
    const items = parsed.has('latest') ? matching.slice(0, 1) : matching;
    const document = () => ({ items: items.map((item) => toJson('PodSandbox', item)) });
    if (parsed.has('verbose')) {
      ctl.terminal.out(renderDocument(document(), 'yaml'));
      return 0;
    }
    const id = (item: cri.PodSandbox) => (parsed.has('no-trunc') ? item.id : shortId(item.id));
    const now = ctl.now();
    printList(ctl, parsed, {
      items,
      quiet: (item) => item.id,
      document,
      columns: [
        ['POD ID', id],
        ['CREATED', (item) => age(toBigInt(item.createdAt), now)],
        ['STATE', (item) => (item.state === cri.PodSandboxState.SANDBOX_READY ? 'Ready' : 'NotReady')],
        ['NAME', (item) => item.metadata?.name ?? ''],
        ['NAMESPACE', (item) => item.metadata?.namespace ?? ''],
        ['ATTEMPT', (item) => String(item.metadata?.attempt ?? 0)],
        ['RUNTIME', (item) => item.runtimeHandler || '(default)'],
      ],
    });
    return 0;
  },
};

export const inspectp: Command<Ctl> = {
  name: 'inspectp',
  usage: 'POD [POD...]',
  summary: 'Show the status of pods',
  flags: { ...outputFlag(DOCUMENT_FORMATS) },
  arity: [1, Infinity],
  exits: TARGET_EXITS,
  async run(ctl, parsed) {
    const format = outputOf(parsed, DOCUMENT_FORMATS);
    return forEachTarget(ctl, parsed.args, async (podSandboxId) => {
      const { status, info } = await ctl.client.PodSandboxStatus({ podSandboxId, verbose: true }, ctl.call());
      if (!status) return undefined;
      return renderDocument(statusDocument('PodSandboxStatus', status, info), format).trimEnd();
    });
  },
};

export const stopp: Command<Ctl> = {
  name: 'stopp',
  usage: 'POD [POD...]',
  summary: 'Stop pods with their containers',
  flags: {},
  arity: [1, Infinity],
  exits: TARGET_EXITS,
  async run(ctl, parsed) {
    const { items } = await ctl.client.ListPodSandbox({}, ctl.call());
    return forEachTarget(ctl, parsed.args, async (target) => {
      await ctl.client.StopPodSandbox({ podSandboxId: pick(items, target).id }, ctl.call());
      return `Stopped sandbox ${target}`;
    });
  },
};

export const rmp: Command<Ctl> = {
  name: 'rmp',
  usage: '[POD...]',
  summary: 'Remove pods with their containers',
  flags: {
    all: { type: 'boolean', short: 'a', doc: 'All pods' },
    force: { type: 'boolean', short: 'f', doc: 'Stop pods that are ready' },
  },
  arity: [0, Infinity],
  exits: TARGET_EXITS,
  async run(ctl, parsed) {
    const { items } = await ctl.client.ListPodSandbox({}, ctl.call());
    if (!parsed.has('all') && parsed.args.length === 0)
      throw new UsageError('crisp ctl rmp: name a pod, or --all');
    const targets = parsed.has('all') ? items.map(({ id }) => id) : parsed.args;
    return forEachTarget(ctl, targets, async (target) => {
      const { id: podSandboxId, state } = pick(items, target);
      const isReady = state === cri.PodSandboxState.SANDBOX_READY;
      if (isReady && !parsed.has('force'))
        throw new UsageError('the pod is ready: stop it first, or use --force');
      if (isReady) await ctl.client.StopPodSandbox({ podSandboxId }, ctl.call());
      await ctl.client.RemovePodSandbox({ podSandboxId }, ctl.call());
      return `Removed sandbox ${target}`;
    });
  },
};
