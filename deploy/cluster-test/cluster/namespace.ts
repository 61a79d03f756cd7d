/** The namespace of a run: all that the run creates is in it. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CoreV1EventList, V1Namespace, V1ServiceAccount } from '@kubernetes/client-node';
import { CrispError } from '#core/errors.ts';
import { ApiError, describeFailure, type Rest } from './rest.ts';
import { eventLines } from './states.ts';

const POLL_MS = 500;

export interface Patience {
  /** Milliseconds. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Of a new one: known before it is created, so that it can be deleted whatever becomes of the request. */
export const namespaceName = (): string => `crisp-cluster-test-${randomBytes(4).toString('hex')}`;

/** The second label lets Pod Security admission take privileged pods where the cluster has that. */
export async function createNamespace(
  rest: Rest,
  name: string,
  labels: Readonly<Record<string, string>>,
): Promise<void> {
  const all = { ...labels, 'pod-security.kubernetes.io/enforce': 'privileged' };
  const body: V1Namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: all } };
  await rest.json('POST', '/api/v1/namespaces', { body });
}

/** Without it the API server admits no pod. Throws DeadlineExceeded where the controller manager has not made it. */
export async function awaitServiceAccount(rest: Rest, namespace: string, options: Patience): Promise<void> {
  const deadline = Date.now() + options.timeoutMs;
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/default`;
  for (;;) {
    const found = await absentAs(rest.json<V1ServiceAccount>('GET', path, { signal: options.signal }));
    if (found) return;
    if (Date.now() > deadline)
      throw new CrispError('DeadlineExceeded', `the namespace ${namespace} has no default service account`, {
        hint: 'check the controller manager of the cluster',
      });
    await sleep(POLL_MS, undefined, { signal: options.signal });
  }
}

/** Deletes it and waits until it is gone. Returns why it is not; never rejects, as this is the last that a run does. */
export async function deleteNamespace(
  rest: Rest,
  namespace: string,
  { timeoutMs, signal }: Patience,
): Promise<string | undefined> {
  const path = `/api/v1/namespaces/${namespace}`;
  const remedy = `kubectl delete namespace ${namespace}`;
  const deadline = Date.now() + timeoutMs;
  let last = 'it is not gone yet';
  let requested = false;
  while (Date.now() < deadline && !signal.aborted) {
    try {
      if (!requested) await absentAs(rest.text('DELETE', path, { signal }));
      requested = true;
      const found = await absentAs(rest.json<V1Namespace>('GET', path, { signal }));
      if (!found) return undefined;
      last = remaining(found) || last;
    } catch (error) {
      last = describeFailure(error);
      if (error instanceof ApiError && error.code === 403) break; // this user may not
    }
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
  return `the namespace ${namespace}: ${last}; ${remedy}`;
}

/** What the namespace controller reports of the content that is still there. */
const remaining = ({ status }: V1Namespace): string =>
  (status?.conditions ?? [])
    .flatMap(({ status: state, message }) => (state === 'True' && message ? [message] : []))
    .join('; ');

async function absentAs<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request;
  } catch (error) {
    if (error instanceof ApiError && error.code === 404) return undefined;
    throw error;
  }
}

/** Namespaces that runs before have left behind: killed ones, or those with --keep. They may belong to a run that goes on. */
export async function otherRuns(
  rest: Rest,
  labels: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<string[]> {
  const labelSelector = Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
  const { items } = await rest.json<{ items: V1Namespace[] }>('GET', '/api/v1/namespaces', {
    query: { labelSelector },
    signal,
  });
  return items.flatMap(({ metadata }) => metadata?.name ?? []);
}

/** The events of a node since then, oldest first; none where this user may not see them. */
export async function nodeEvents(rest: Rest, node: string, since: Date): Promise<string[]> {
  const query = { fieldSelector: `involvedObject.kind=Node,involvedObject.name=${node}` };
  try {
    const { items } = await rest.json<CoreV1EventList>('GET', '/api/v1/namespaces/default/events', { query });
    const recent = items.filter(
      ({ lastTimestamp, eventTime }) => new Date(lastTimestamp ?? eventTime ?? 0) >= since,
    );
    return eventLines(recent, () => true);
  } catch {
    return [];
  }
}
