/** What each part of an adjustment works on: a copy of the spec that becomes the container's when all parts have succeeded. */
import { CrispError, codeOf, describeError, hintOf } from '#core/errors.ts';
import type { AdjustmentOwners, ContainerAdjustment } from '#core/model/adjustment.ts';
import type { PodView } from '#core/model/pod.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from '../container.ts';
import type { Context } from '../context.ts';
import type { OciRuntime } from '../oci-runtime/cli.ts';
import type { OciSpec } from '../spec/oci.ts';

/** The parts of the context that are used. */
export type AdjustmentHost = Pick<
  Context,
  'kernel' | 'host' | 'cdi' | 'blockio' | 'containers' | 'cleanups' | 'leaks'
>;

export interface Adjusting {
  readonly adjustment: ContainerAdjustment;
  readonly owners: AdjustmentOwners;
  readonly context: AdjustmentHost;
  readonly oci: Pick<OciRuntime, 'handler' | 'isCrun' | 'features'>;
  readonly pod: PodView;
  readonly op: Operation;
  readonly spec: OciSpec;
  /** What becomes of the container's record. */
  record: ContainerRecord;
}

/** Which plugin has changed it: of the entry, else of the field and its parts, else all that have changed anything. */
export function ownerOf({ fields, entries }: AdjustmentOwners, field: string, entry = ''): string {
  const owner = entries[field]?.[entry] ?? fields[field];
  if (owner !== undefined) return owner;
  const parts = Object.entries(fields).filter(([name]) => name.startsWith(`${field}.`));
  const of = [...parts.map(([, one]) => one), ...Object.values(entries[field] ?? {})];
  const all = [...Object.values(fields), ...Object.values(entries).flatMap((one) => Object.values(one))];
  return [...new Set(of.length > 0 ? of : all)].join(' or ') || 'unknown';
}

/** An adjustment that cannot be made, by its field and plugin. `entry` is a name, never a value: that may be a secret. */
export function refusal(
  { owners }: Pick<Adjusting, 'owners'>,
  [field, entry = '']: readonly [field: string, entry?: string],
  why: string,
  hint: string,
  cause?: unknown,
): CrispError {
  const what = entry === '' ? field : `${field} ${JSON.stringify(entry)}`;
  const message = `NRI plugin ${ownerOf(owners, field, entry)}: ${what} ${why}`;
  return new CrispError('FailedPrecondition', message, { hint, cause });
}

/** Adds field and plugin to the errors of what requested settings also go through. */
export async function attributed<T>(
  adjusting: Pick<Adjusting, 'owners'>,
  field: string,
  act: () => Promise<T> | T,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (codeOf(error) === 'Cancelled') throw error;
    throw refusal(adjusting, [field], `cannot be applied: ${describeError(error)}`, hintOf(error), error);
  }
}
