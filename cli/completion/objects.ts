/** What the daemon has, for completions: a line with a tab for each, the candidate and what it is. */
import { connectCri } from '#api/cri/v1/client.ts';
import { printable, shortId } from '../format.ts';
import type { ObjectKind } from './candidates.ts';

/** Nobody waits longer for a candidate. */
const TIMEOUT_MS = 2000;

type Line = readonly [candidate: string, doc: string];

/** Nothing where no daemon answers: a shell that completes has no place for an error. */
/** What a shell takes as it is: names come from whatever runtime the user has named. */
const UNQUOTED = /^[\w.:@/+-]+$/;

export async function objectLines(kind: ObjectKind, socket: string, signal: AbortSignal): Promise<string> {
  try {
    const lines = await list(kind, socket, signal);
    const safe = lines.filter(([candidate = '']) => UNQUOTED.test(candidate));
    return safe.map((line) => `${line.map(printable).join('\t')}\n`).join('');
  } catch {
    return '';
  }
}

async function list(kind: ObjectKind, socket: string, signal: AbortSignal): Promise<readonly Line[]> {
  using client = connectCri(socket, { maxReceive: -1 });
  const settings = { signal, timeoutMs: TIMEOUT_MS };
  if (kind === 'containers') {
    const { containers } = await client.ListContainers({}, settings);
    return containers.map(({ id, metadata, labels }) => [
      shortId(id),
      [labels['io.kubernetes.pod.name'], metadata?.name].filter(Boolean).join('/'),
    ]);
  }
  if (kind === 'pods') {
    const { items } = await client.ListPodSandbox({}, settings);
    return items.map(({ id, metadata }) => [shortId(id), `${metadata?.namespace}/${metadata?.name}`]);
  }
  const { images } = await client.ListImages({}, settings);
  return images.flatMap(({ id, repoTags }): Line[] =>
    repoTags.length > 0 ? repoTags.map((tag) => [tag, shortId(id)]) : [[shortId(id), 'without a name']],
  );
}
