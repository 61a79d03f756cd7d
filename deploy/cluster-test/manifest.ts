/** Pods and jobs as the API server takes them, from the little that a case says. */
import type { V1Container, V1Job, V1JobSpec, V1Pod, V1PodSpec } from '@kubernetes/client-node';

/** Of all objects of a run. */
export const MANAGED_BY = { 'app.kubernetes.io/managed-by': 'crisp-cluster-test' } as const;
/** Which case has made an object. */
export const CASE_LABEL = 'crisp-cluster-test/case';

/** Sleeps until SIGTERM, then ends at once. */
export const SLEEP = "trap 'exit 0' TERM; sleep 3600 & wait";

/** What a case says of a container; its name is `main` unless it says another. */
export type ContainerSketch = Partial<V1Container> & {
  /** Run by `sh -c` in the place of `command`. */
  readonly script?: string;
};

export interface PodSketch extends Partial<Omit<V1PodSpec, 'containers' | 'initContainers'>> {
  /** One container that sleeps where there are none. */
  readonly containers?: readonly ContainerSketch[];
  readonly initContainers?: readonly ContainerSketch[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Placement {
  readonly namespace: string;
  readonly node: string;
  readonly image: string;
  /** The name of the case, for the label. */
  readonly caseName: string;
}

/** `exec/exit-code` as a part of names and as a label's value. */
export const slugOf = (caseName: string): string => caseName.replaceAll(/[^a-z0-9]+/g, '-');

export const container = (sketch: ContainerSketch, image: string, name = 'main'): V1Container => {
  const { script, ...rest } = sketch;
  const runs = rest.command === undefined && rest.args === undefined;
  return {
    name,
    image,
    ...(runs ? { command: ['sh', '-c', script ?? SLEEP] } : {}),
    ...rest,
  };
};

/**
 * Through the scheduler, so that host ports and limits of the node count, but onto one node and past all taints. Without the token of a
 * service account and the variables of services: what a container sees is what its case says.
 */
function podSpec(sketch: PodSketch, { node, image }: Placement): V1PodSpec {
  const { containers = [{}], initContainers, labels: _labels, annotations: _annotations, ...rest } = sketch;
  const name = { key: 'metadata.name', operator: 'In', values: [node] };
  return {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: 5,
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchFields: [name] }] },
      },
    },
    tolerations: [{ operator: 'Exists' }],
    ...rest,
    containers: containers.map((entry) => container(entry, image)),
    ...(initContainers ? { initContainers: initContainers.map((entry) => container(entry, image)) } : {}),
  };
}

const labelsOf = ({ caseName }: Placement): Record<string, string> => ({
  ...MANAGED_BY,
  [CASE_LABEL]: slugOf(caseName),
});

export const podManifest = (name: string, sketch: PodSketch, placement: Placement): V1Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name,
    namespace: placement.namespace,
    labels: { ...labelsOf(placement), ...sketch.labels },
    ...(sketch.annotations ? { annotations: { ...sketch.annotations } } : {}),
  },
  spec: podSpec(sketch, placement),
});

export const jobManifest = (
  name: string,
  spec: Omit<V1JobSpec, 'template'>,
  pod: PodSketch,
  placement: Placement,
): V1Job => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name, namespace: placement.namespace, labels: labelsOf(placement) },
  spec: {
    ...spec,
    template: { metadata: { labels: labelsOf(placement) }, spec: podSpec(pod, placement) },
  },
});
