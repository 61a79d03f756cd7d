/** `crisp ctl events`: changes of pods and containers as they happen. */
import { cri, toBigInt, toJson } from '#api/cri/v1/index.ts';
import type { Command } from '../command.ts';
import { printable, shortId, timestamp } from '../format.ts';
import { outputFlag, outputOf, TEXT_OR_JSON } from '../output.ts';
import { type Ctl, FOLLOWING_EXITS, noTruncFlag } from './context.ts';

const nameOf = (type: number): string =>
  cri.ContainerEventType[type]?.replace(/^CONTAINER_(.*)_EVENT$/, '$1').toLowerCase() ?? `type ${type}`;

/** One line: time, what happened, to what, in which pod. */
function line(event: cri.ContainerEventResponse, short: (id: string) => string): string {
  const { containerId, podSandboxStatus: pod, containersStatuses } = event;
  const isPod = containerId === pod?.id;
  const container = containersStatuses.find(({ id }) => id === containerId)?.metadata?.name ?? '';
  const words = [
    timestamp(toBigInt(event.createdAt)),
    isPod ? 'pod' : 'container',
    nameOf(event.containerEventType),
    short(containerId),
    pod?.metadata ? `${pod.metadata.namespace}/${pod.metadata.name}` : '',
    container,
  ];
  return `${words.filter(Boolean).map(printable).join('  ')}\n`;
}

export const events: Command<Ctl> = {
  name: 'events',
  usage: '',
  summary: 'Follow the events of pods and containers until interrupted',
  flags: { ...noTruncFlag, ...outputFlag(TEXT_OR_JSON) },
  arity: [0, 0],
  exits: FOLLOWING_EXITS,
  async run(ctl, parsed) {
    const format = outputOf(parsed, TEXT_OR_JSON);
    const short = parsed.has('no-trunc') ? (id: string) => id : shortId;
    try {
      for await (const event of ctl.client.GetContainerEvents({}, { signal: ctl.signal })) {
        const text =
          format === 'json'
            ? `${JSON.stringify(toJson('ContainerEventResponse', event))}\n`
            : line(event, short);
        ctl.terminal.out(text);
      }
    } catch (error) {
      if (!ctl.signal.aborted) throw error;
    }
    return 0;
  },
};
