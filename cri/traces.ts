/**
 * The stages of recent operations that changed a pod or its containers, for `crisp trace`. Kept in memory only, and
 * a fixed number of them: the oldest are dropped first.
 */
import type { Operation } from '#core/operation.ts';
import { sandboxOf } from './runtime/wire/ids.ts';
import type { CriServices } from './services.ts';

/** Operations kept, of all pods together. A pod's whole life is about ten. */
const KEPT = 512;
/** Stages kept of one operation; an operation with more loses its last ones. */
const STAGES = 64;
/** The operations that are kept: reads and probes would displace them. */
const TRACED: ReadonlySet<string> = new Set([
  'RunPodSandbox',
  'CreateContainer',
  'StartContainer',
  'StopContainer',
  'RemoveContainer',
  'StopPodSandbox',
]);

/** Times are milliseconds since the operation began. */
export interface TracedStage {
  readonly name: string;
  readonly detail: string;
  readonly from: number;
  readonly to: number;
  readonly failed: boolean;
}

export interface TracedOperation {
  /** Also in the log lines. */
  readonly id: string;
  readonly name: string;
  /** Empty for an operation on the pod itself. */
  readonly containerId: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly ms: number;
  readonly failed: boolean;
  /** Ordered by start; a stage within another comes after it. */
  readonly stages: readonly TracedStage[];
}

/** The ids in requests and replies. */
interface Ids {
  readonly podSandboxId?: string;
  readonly containerId?: string;
}

export class Traces {
  readonly #podOf: (ids: Ids) => string | undefined;
  readonly #kept: { readonly pod: string; readonly trace: TracedOperation }[] = [];

  /** `podOf` returns the full id of the pod of a request, by the pod's or the container's id. */
  constructor(podOf: (ids: Ids) => string | undefined) {
    this.#podOf = podOf;
  }

  /** Runs `act` and keeps the operation's stages if it is one of `TRACED`. */
  async follow<T extends object>(op: Operation, request: object, act: () => Promise<T>): Promise<T> {
    if (!TRACED.has(op.name)) return act();
    const pod = this.#podOf(request); // before `act`: after a removal the id cannot be resolved
    let ids: Ids = request;
    let failed = true;
    try {
      const reply = await act();
      ids = { ...request, ...reply };
      failed = false;
      return reply;
    } finally {
      this.#keep(pod ?? ids.podSandboxId, traced(op, ids.containerId ?? '', failed));
    }
  }

  /** The operations of a pod by its full id, oldest first. */
  of(pod: string): readonly TracedOperation[] {
    return this.#kept.filter((entry) => entry.pod === pod).map(({ trace }) => trace);
  }

  #keep(pod: string | undefined, trace: TracedOperation): void {
    if (!pod) return; // a pod that could not be created has no id to query
    this.#kept.push({ pod, trace });
    if (this.#kept.length > KEPT) this.#kept.shift();
  }
}

/** The traces of the operations of these services. */
export const tracesOf = (services: CriServices): Traces =>
  new Traces(({ podSandboxId, containerId }) => {
    if (podSandboxId) return sandboxOf(services, podSandboxId);
    return containerId ? services.containers.find(containerId)?.sandboxId : undefined;
  });

function traced(op: Operation, containerId: string, failed: boolean): TracedOperation {
  const stages = op.stages.slice(0, STAGES).map((stage) => ({
    name: stage.name,
    detail: stage.detail,
    from: stage.started - op.started,
    to: stage.ended - op.started,
    failed: stage.failed,
  }));
  return {
    id: op.id,
    name: op.name,
    containerId,
    startedAt: performance.timeOrigin + op.started,
    ms: performance.now() - op.started,
    failed,
    stages: stages.sort((a, b) => a.from - b.from || b.to - a.to),
  };
}
