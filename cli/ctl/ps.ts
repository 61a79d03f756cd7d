/** `crisp ctl ps`. */
import { cri, toBigInt, toJson } from '#api/cri/v1/index.ts';
import { type Command, type Parsed, UsageError } from '../command.ts';
import { age, shortId } from '../format.ts';
import { outputFlag } from '../output.ts';
import {
  type Ctl,
  LIST_FORMATS,
  labelFlag,
  labelsOf,
  noTruncFlag,
  patternOf,
  printList,
  quietFlag,
} from './context.ts';
import { byNewest } from './pods.ts';

const { CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED, CONTAINER_UNKNOWN } = cri.ContainerState;
const STATES: Readonly<Record<string, number>> = {
  created: CONTAINER_CREATED,
  running: CONTAINER_RUNNING,
  exited: CONTAINER_EXITED,
  unknown: CONTAINER_UNKNOWN,
};

function stateOf(parsed: Parsed): number | undefined {
  const wanted = parsed.text('state');
  if (wanted === undefined) {
    const all = ['all', 'id', 'latest', 'last'].some((flag) => parsed.has(flag));
    return all ? undefined : CONTAINER_RUNNING;
  }
  const state = STATES[wanted.toLowerCase()];
  if (state === undefined)
    throw new UsageError(`--state must be one of ${Object.keys(STATES).join(', ')}, not '${wanted}'`);
  return state;
}

/** How many of the newest containers are shown. */
function countOf(parsed: Parsed): number {
  if (parsed.has('latest')) return 1;
  const text = parsed.text('last') ?? 'Infinity';
  if (!/^(\d+|Infinity)$/.test(text)) throw new UsageError(`--last must be a number, not '${text}'`);
  return Number(text);
}

async function imageIdOf(ctl: Ctl, parsed: Parsed): Promise<string | undefined> {
  const image = parsed.text('image');
  if (image === undefined) return undefined;
  const reply = await ctl.client.ImageStatus({ image: { image } }, ctl.call());
  return reply.image?.id ?? image;
}

async function namesOfPods(ctl: Ctl): Promise<Map<string, string>> {
  const { items } = await ctl.client.ListPodSandbox({}, ctl.call());
  return new Map(items.map(({ id, metadata }) => [id, metadata?.name ?? '']));
}

const stateName = (state: number): string => {
  const name = cri.ContainerState[state]?.replace('CONTAINER_', '').toLowerCase() ?? `state ${state}`;
  return name.charAt(0).toUpperCase() + name.slice(1);
};

export const ps: Command<Ctl> = {
  name: 'ps',
  usage: '',
  summary: 'List containers; without flags only running ones',
  flags: {
    all: { type: 'boolean', short: 'a', doc: 'Containers in all states' },
    id: { type: 'string', value: 'CONTAINER', doc: 'Only the container of this id' },
    pod: { type: 'string', short: 'p', value: 'POD', doc: 'Only containers of this pod' },
    name: { type: 'string', value: 'REGEX', doc: 'Only containers whose name matches' },
    state: {
      type: 'string',
      short: 's',
      value: 'created|running|exited|unknown',
      doc: 'Only containers in this state',
    },
    image: { type: 'string', value: 'IMAGE', doc: 'Only containers of this image' },
    ...labelFlag,
    latest: { type: 'boolean', short: 'l', doc: 'Only the newest container' },
    last: { type: 'string', short: 'n', value: 'NUMBER', doc: 'Only this many of the newest' },
    ...quietFlag,
    ...noTruncFlag,
    ...outputFlag(LIST_FORMATS),
  },
  arity: [0, 0],
  async run(ctl, parsed) {
    const [name, state, count] = [patternOf(parsed, 'name'), stateOf(parsed), countOf(parsed)];
    const image = await imageIdOf(ctl, parsed);
    const filter: cri.ContainerFilterInit = {
      id: parsed.text('id'),
      podSandboxId: parsed.text('pod'),
      labelSelector: labelsOf(parsed),
      ...(state === undefined ? {} : { state: { state } }),
    };
    const { containers } = await ctl.client.ListContainers({ filter }, ctl.call());
    const items = containers
      .filter(({ metadata }) => name?.test(metadata?.name ?? '') ?? true)
      .filter(({ imageId, image: spec }) => image === undefined || imageId === image || spec?.image === image)
      .sort(byNewest)
      .slice(0, count);
    const short = parsed.has('no-trunc') ? (id: string) => id : shortId;
    const now = ctl.now();
    const podNames = parsed.has('quiet') ? new Map<string, string>() : await namesOfPods(ctl);
    printList(ctl, parsed, {
      items,
      quiet: ({ id }) => id,
      document: () => ({ containers: items.map((item) => toJson('Container', item)) }),
      columns: [
        ['CONTAINER', ({ id }) => short(id)],
        ['IMAGE', (item) => imageName(item, short)],
        ['CREATED', ({ createdAt }) => age(toBigInt(createdAt), now)],
        ['STATE', (item) => stateName(item.state)],
        ['NAME', ({ metadata }) => metadata?.name ?? ''],
        ['ATTEMPT', ({ metadata }) => String(metadata?.attempt ?? 0)],
        ['POD ID', ({ podSandboxId }) => short(podSandboxId)],
        ['POD', ({ podSandboxId }) => podNames.get(podSandboxId) ?? 'unknown'],
      ],
    });
    return 0;
  },
};

/** The name that the user gave, else the image's; an id is shortened. */
function imageName({ image }: cri.Container, short: (id: string) => string): string {
  const name = image?.userSpecifiedImage || image?.image || '';
  return /^(sha256:)?[0-9a-f]{64}$/.test(name) ? short(name) : name;
}
