/** What is known of the cluster and the node before the first case: the gates and the report use it. */
import type { V1Node, V1NodeList, V1RuntimeClassList } from '@kubernetes/client-node';
import { CrispError } from '#core/errors.ts';
import { ApiError, describeFailure, type Rest } from './rest.ts';

export interface Handler {
  /** Empty for the default one. */
  readonly name: string;
  /** Those that it has, such as `userNamespaces`. */
  readonly features: readonly string[];
}

export interface NodeFacts {
  readonly name: string;
  readonly kubelet: string;
  /** `crisp://0.1.0` */
  readonly runtime: string;
  readonly kernel: string;
  readonly os: string;
  readonly arch: string;
  /** The internal addresses. */
  readonly addresses: readonly string[];
  readonly handlers: readonly Handler[];
  readonly features: readonly string[];
}

export interface RuntimeClass {
  readonly name: string;
  readonly handler: string;
}

/** Of the kubelet's own configuration; absent where it may not be read. */
export interface KubeletConfig {
  readonly podPidsLimit?: number;
}

export interface Facts {
  /** The version of the API server, such as `v1.36.2`. */
  readonly server: string;
  readonly node: NodeFacts;
  readonly runtimeClasses: readonly RuntimeClass[];
  readonly kubeletConfig: KubeletConfig | undefined;
}

const enabled = (features: object | undefined): string[] =>
  Object.entries(features ?? {}).flatMap(([name, has]) => (has === true ? [name] : []));

const isReady = ({ status }: V1Node): boolean =>
  status?.conditions?.some(({ type, status: state }) => type === 'Ready' && state === 'True') ?? false;
const isLinux = ({ status }: V1Node): boolean => status?.nodeInfo?.operatingSystem === 'linux';
const runtimeOf = ({ status }: V1Node): string => status?.nodeInfo?.containerRuntimeVersion ?? '';
const nameOf = ({ metadata }: V1Node): string => metadata?.name ?? '';

/**
 * The node that is named, or the first one that is Ready, schedulable and of Linux, preferably with crisp. Throws NotFound where there is
 * none, FailedPrecondition where the named one is not Ready.
 */
export function chooseNode(nodes: readonly V1Node[], wanted: string | undefined): V1Node {
  if (wanted !== undefined) {
    const found = nodes.find((node) => nameOf(node) === wanted);
    if (!found)
      throw new CrispError('NotFound', `the cluster has no node '${wanted}'`, {
        hint: `it has: ${nodes.map(nameOf).join(', ')}`,
      });
    if (!isReady(found))
      throw new CrispError('FailedPrecondition', `the node ${wanted} is not Ready`, {
        hint: `kubectl describe node ${wanted} shows why`,
      });
    return found;
  }
  const usable = nodes.filter((node) => isReady(node) && isLinux(node) && !node.spec?.unschedulable);
  const chosen = usable.find((node) => runtimeOf(node).startsWith('crisp:')) ?? usable[0];
  if (!chosen)
    throw new CrispError('NotFound', 'the cluster has no node that is Ready, schedulable and of Linux', {
      hint: 'name one by --node',
    });
  return chosen;
}

export function nodeFacts(node: V1Node): NodeFacts {
  const { status } = node;
  const info = status?.nodeInfo;
  return {
    name: nameOf(node),
    kubelet: info?.kubeletVersion ?? 'unknown',
    runtime: runtimeOf(node) || 'unknown',
    kernel: info?.kernelVersion ?? 'unknown',
    os: info?.osImage ?? 'unknown',
    arch: info?.architecture ?? 'unknown',
    addresses: (status?.addresses ?? []).flatMap(({ type, address }) =>
      type === 'InternalIP' ? [address] : [],
    ),
    handlers: (status?.runtimeHandlers ?? []).map(({ name, features }) => ({
      name: name ?? '',
      features: enabled(features),
    })),
    features: enabled(status?.features),
  };
}

/** What may be forbidden to this user, and is not needed by most cases. */
async function optional<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request;
  } catch (error) {
    if (error instanceof ApiError) return undefined;
    throw error;
  }
}

/** Throws Unavailable where the API server does not answer, PermissionDenied where it lets this user not see its nodes. */
export async function readFacts(rest: Rest, wanted: string | undefined, signal: AbortSignal): Promise<Facts> {
  const { server, nodes } = await reach(rest, signal);
  const node = nodeFacts(chooseNode(nodes.items, wanted));
  const classes = '/apis/node.k8s.io/v1/runtimeclasses';
  const [runtimeClasses, config] = await Promise.all([
    optional(rest.json<V1RuntimeClassList>('GET', classes, { signal })),
    optional(
      rest.json<{ kubeletconfig?: KubeletConfig }>(
        'GET',
        `/api/v1/nodes/${encodeURIComponent(node.name)}/proxy/configz`,
        { signal },
      ),
    ),
  ]);
  return {
    server,
    node,
    runtimeClasses: (runtimeClasses?.items ?? []).map(({ metadata, handler }) => ({
      name: metadata?.name ?? '',
      handler,
    })),
    kubeletConfig: config?.kubeletconfig,
  };
}

async function reach(rest: Rest, signal: AbortSignal): Promise<{ server: string; nodes: V1NodeList }> {
  try {
    const { gitVersion } = await rest.json<{ gitVersion: string }>('GET', '/version', { signal });
    return { server: gitVersion, nodes: await rest.json<V1NodeList>('GET', '/api/v1/nodes', { signal }) };
  } catch (error) {
    signal.throwIfAborted();
    const denied = error instanceof ApiError && (error.code === 401 || error.code === 403);
    throw denied
      ? new CrispError('PermissionDenied', error.message, {
          hint: 'the cluster test needs the rights of a cluster administrator: choose another user or context',
        })
      : new CrispError('Unavailable', `the API server does not answer: ${describeFailure(error)}`, {
          hint: 'check --kubeconfig, --context and that the server can be reached from here',
        });
  }
}
