/** What plugins that validate are asked, and what they answer. */
import type { nri } from '#api/nri/index.ts';
import { CrispError } from '#core/errors.ts';
import type { AdjustmentOwners, ContainerAdjustment } from '#core/model/adjustment.ts';
import { adjustmentMessage, withChanges } from '../messages/index.ts';
import type { CreateOutcome } from './collector.ts';
import { fields, isField } from './fields.ts';
import { quoted } from './parse/reader.ts';

export interface Validation {
  readonly pod: nri.PodSandboxInit;
  /** As it was before any plugin. */
  readonly container: nri.ContainerInit;
  readonly outcome: CreateOutcome;
  /** All that were asked for adjustments. */
  readonly plugins: readonly { readonly index: string; readonly name: string }[];
}

export const validationRequest = ({
  pod,
  container,
  outcome,
  plugins,
}: Validation): nri.ValidateContainerAdjustmentRequestInit => ({
  pod,
  container,
  adjust: adjustmentMessage(outcome.adjustment ?? {}),
  update: outcome.updates.map(({ id, changes, ignoreFailure }) => ({
    containerId: id,
    linux: { resources: withChanges(undefined, changes) },
    ignoreFailure,
  })),
  owners: { owners: ownersById(container.id ?? '', outcome) },
  plugins: plugins.map(({ index, name }) => ({ index, name })),
});

const ownersById = (
  id: string,
  { adjustment = {}, owners, updates }: CreateOutcome,
): Readonly<Record<string, nri.FieldOwnersInit>> =>
  Object.fromEntries([
    [id, fieldOwners(owners, removedOf(adjustment))],
    ...updates.map((update) => [update.id, fieldOwners(update.owners, () => false)] as const),
  ]);

/** By the fields' numbers; a plugin that has taken something away is marked as the entry would be. */
function fieldOwners(
  { fields: simple, entries }: AdjustmentOwners,
  isRemoved: (field: string, entry: string) => boolean,
): nri.FieldOwnersInit {
  const owner = (field: string, entry: string, plugin: string) =>
    isRemoved(field, entry) ? `-${plugin}` : plugin;
  const numbered = <T, V>(by: Readonly<Record<string, T>>, value: (field: string, item: T) => V) =>
    Object.fromEntries(
      Object.entries(by).flatMap(([field, item]): [number, V][] => {
        const number = isField(field) ? fields[field].number : undefined;
        return number === undefined ? [] : [[number, value(field, item)]];
      }),
    );
  return {
    simple: numbered(simple, (field, plugin) => owner(field, '', plugin)),
    compound: numbered(entries, (field, owners) => ({
      owners: Object.fromEntries(
        Object.entries(owners).map(([entry, plugin]) => [entry, owner(field, entry, plugin)]),
      ),
    })),
  };
}

function removedOf(adjustment: ContainerAdjustment): (field: string, entry: string) => boolean {
  const { annotations, env, mounts, devices, namespaces, sysctl, netDevices, rdt } = adjustment;
  const entries = { annotations, env, mounts, devices, namespaces, sysctl, netDevices };
  const removed = new Set(
    Object.entries(entries).flatMap(([field, changes]) =>
      (changes?.removed ?? []).map((entry) => `${field} ${entry}`),
    ),
  );
  const set: Readonly<Record<string, unknown>> = {
    'rdt.closID': rdt?.closID,
    'rdt.schemata': rdt?.schemata,
    'rdt.enableMonitoring': rdt?.enableMonitoring,
  };
  return (field, entry) =>
    entry === '' ? Object.hasOwn(set, field) && set[field] === undefined : removed.has(`${field} ${entry}`);
}

/** Throws FailedPrecondition with the plugin's reason where it rejects the adjustment. */
export function checkVerdict(
  validator: string,
  { reject, reason }: nri.ValidateContainerAdjustmentResponse,
): void {
  if (!reject) return;
  const why = reason === '' ? 'it gives no reason' : quoted(reason.slice(0, 1024));
  throw new CrispError(
    'FailedPrecondition',
    `NRI plugin ${validator} rejects what plugins adjust of this container: ${why}`,
    { hint: `correct the plugin that adjusts it, or what ${validator} allows` },
  );
}
