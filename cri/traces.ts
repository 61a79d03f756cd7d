/**
 * The stages of the operations that lately changed a pod or its containers, for `crisp trace`. Kept in memory only, and
 * no more than a fixed number of them: the oldest go first.
 */
import type { Operation } from '#core/operation.ts';
import { sandboxOf } from './runtime/wire/ids.ts';
import type { CriServices } from './services.ts';

/** Operations kept, of all pods together. A pod's whole life is about ten. */
const KEPT = 512;
/** Of one operation; a pull of many layers has more and loses its last ones. */
const STAGES = 64;
/** What is worth keeping: reads and probes would drive it out. */
const TRACED: ReadonlySet<string> = new Set([
  'RunPodSandbox',
  'CreateContainer',
  'StartContainer',
  'StopContainer',
  'RemoveContainer',
  'StopPodSandbox',
]);

/** One step; times are milliseconds since its operation began. */
export interface TracedStage {
  readonly name: string;
  readonly detail: string;
  readonly from: number;
  readonly to: number;
  readonly failed: boolean;
}

export interface TracedOperation {
  /** Of the log lines too. */
  readonly id: string;
  readonly name: string;
  /** Empty for an operation on the pod itself. */
  readonly containerId: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly ms: number;
  readonly failed: boolean;
  /** In the order of their beginnings; a stage within another comes after it. */
  readonly stages: readonly TracedStage[];
}

/** Names that requests and replies use for what they speak of. */
interface Named {
  readonly podSandboxId?: string;
  readonly containerId?: string;
}

export class Traces {
  readonly #podOf: (named: Named) => string | undefined;
  readonly #kept: { readonly pod: string; readonly trace: TracedOperation }[] = [];

  /** `podOf` gives the full id of the pod that a request speaks of, by the pod's or the container's id. */
  constructor(podOf: (named: Named) => string | undefined) {
    this.#podOf = podOf;
  }

  /** Runs an operation's act and keeps its stages, where it is one of those that are kept. */
  async follow<T extends object>(op: Operation, request: object, act: () => Promise<T>): Promise<T> {
    if (!TRACED.has(op.name)) return act();
    const pod = this.#podOf(request); // before the act: a removal leaves nothing to look up
    let told: Named = request;
    let failed = true;
    try {
      const reply = await act();
      told = { ...request, ...reply };
      failed = false;
      return reply;
    } finally {
      this.#keep(pod ?? told.podSandboxId, traced(op, told.containerId ?? '', failed));
    }
  }

  /** The operations of a pod by its full id, oldest first. */
  of(pod: string): readonly TracedOperation[] {
    return this.#kept.filter((entry) => entry.pod === pod).map(({ trace }) => trace);
  }

  #keep(pod: string | undefined, trace: TracedOperation): void {
    if (!pod) return; // a pod that could not be made has no name to ask for
    this.#kept.push({ pod, trace });
    if (this.#kept.length > KEPT) this.#kept.shift();
  }
}

/** The traces of what these services do. */
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
