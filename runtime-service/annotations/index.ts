/** What annotations of pod and container, where the handler allows them, change in the OCI spec. */
import { type Annotated, findAnnotation } from '#core/allowed-annotations.ts';
import type { PodView } from '#core/model/pod.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerConfig } from '../config.ts';
import type { OciSpec } from '../spec/oci.ts';
import { parseRlimits, rlimitKeys } from './rlimits.ts';

export interface AnnotatedContainer {
  readonly config: Pick<ContainerConfig, 'metadata' | 'annotations'>;
  readonly pod: Pick<PodView, 'annotations'>;
  /** Prefixes of keys. */
  readonly allowed: readonly string[];
}

/** Edits the spec in place. Throws InvalidArgument for a malformed one; one that is not allowed is ignored, which is logged. */
export function applyAnnotations(
  spec: OciSpec,
  { config, pod, allowed }: AnnotatedContainer,
  op: Operation,
): void {
  const { name } = config.metadata;
  const counts = (found: Annotated | undefined): found is Annotated => {
    if (found && !found.allowed)
      op.log.info(
        { container: name, annotation: found.key, why: 'it is not in allowed_annotations' },
        'an annotation of the container is ignored',
      );
    return found?.allowed === true;
  };
  const limits = findAnnotation(pod.annotations, rlimitKeys(name), allowed);
  if (counts(limits)) setRlimits(spec, limits);
}

function setRlimits({ process }: OciSpec, annotated: Annotated): void {
  const limits = parseRlimits(annotated);
  const others = (process.rlimits ?? []).filter(({ type }) => !limits.some((limit) => limit.type === type));
  process.rlimits = [...others, ...limits.map(({ type, soft, hard }) => ({ type, soft, hard }))];
}
