/** What annotations of pod and container, where the handler allows them, change in the OCI spec. */
import { type Annotated, findAnnotation } from '#core/allowed-annotations.ts';
import type { PodView } from '#core/model/pod.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerConfig } from '../config.ts';
import type { SpecHost } from '../spec/index.ts';
import type { OciSpec } from '../spec/oci.ts';
import { type ClassHost, setBlockIo, setRdt } from './classes.ts';
import { parseRlimits, rlimitKeys } from './rlimits.ts';

export interface AnnotatedContainer {
  readonly config: Pick<ContainerConfig, 'metadata' | 'annotations'>;
  readonly pod: Pick<PodView, 'annotations'>;
  /** Prefixes of keys. */
  readonly allowed: readonly string[];
}

/** What the configuration and the node have for annotations. */
export interface AnnotationHost extends ClassHost {
  readonly clampRlimits: SpecHost['clampRlimits'];
}

/**
 * Edits the spec in place. Throws InvalidArgument for a malformed one, FailedPrecondition for what this node lacks; one that is not
 * allowed is ignored, which is logged.
 */
export async function applyAnnotations(
  spec: OciSpec,
  { config, pod, allowed }: AnnotatedContainer,
  host: AnnotationHost,
  op: Operation,
): Promise<void> {
  const container = config.metadata.name;
  const counts = (found: Annotated | undefined): found is Annotated => {
    if (found && !found.allowed)
      op.log.info(
        { container, annotation: found.key, why: 'it is not in allowed_annotations' },
        'an annotation of the container is ignored',
      );
    return found?.allowed === true;
  };
  const classOf = (kind: 'blockio' | 'rdt'): Annotated | undefined => {
    const own = [`io.kubernetes.cri.${kind}-class`];
    const prefix = `${kind}.resources.beta.kubernetes.io`;
    const ofPod = [`${prefix}/container.${container}`, `${prefix}/pod`];
    // One that does not count hides none that does: who writes the pod must not take a class away.
    return [
      findAnnotation(config.annotations, own, allowed),
      ...ofPod.map((key) => findAnnotation(pod.annotations, [key], allowed)),
    ].find(counts);
  };
  const limits = findAnnotation(pod.annotations, rlimitKeys(container), allowed);
  if (counts(limits)) setRlimits(spec, limits, host);
  const blockio = classOf('blockio');
  if (blockio) await setBlockIo(spec, namedBy(blockio), host, op);
  const rdt = classOf('rdt');
  if (rdt) await setRdt(spec, namedBy(rdt), host);
}

const namedBy = ({ key, value }: Annotated) => ({ from: `annotation ${key}`, value });

function setRlimits({ process }: OciSpec, annotated: Annotated, { clampRlimits }: AnnotationHost): void {
  const limits = clampRlimits(parseRlimits(annotated));
  const others = (process.rlimits ?? []).filter(({ type }) => !limits.some((limit) => limit.type === type));
  process.rlimits = [...others, ...limits.map(({ type, soft, hard }) => ({ type, soft, hard }))];
}
