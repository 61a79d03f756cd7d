/**
 * Which plugins of a list may run at the same time. In general none: each gets the result of the one before it, and may
 * depend on what that has made. Two of the reference plugins are independent: loopback, which only sets up the pod's `lo`,
 * and portmap for a pod that publishes no port. Both pass the result on unchanged.
 */
import { hasCode } from '#core/errors.ts';
import type { Attachment } from './attachment.ts';
import type { PluginConfig } from './conflist.ts';
import { combinedError } from './failed-add.ts';

type Capable = Pick<Attachment, 'capabilities'>;

/** Whether the plugin neither needs nor changes anything of the others. */
export function isIndependent({ type }: PluginConfig, { capabilities }: Capable): boolean {
  return type === 'loopback' || (type === 'portmap' && !Object.hasOwn(capabilities, 'portMappings'));
}

/** The list in groups, one after another: adjacent independent ones are one group, every other plugin is its own. */
export function parallelGroups(plugins: readonly PluginConfig[], attachment: Capable): PluginConfig[][] {
  const groups: PluginConfig[][] = [];
  let open: PluginConfig[] | undefined;
  for (const plugin of plugins) {
    const independent = isIndependent(plugin, attachment);
    if (independent && open) {
      open.push(plugin);
      continue;
    }
    const group = [plugin];
    groups.push(group);
    open = independent ? group : undefined;
  }
  return groups;
}

/** Waits for all, then returns their values in order or throws the first failure of the list. */
export async function settleAll<T>(acts: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(acts);
  return Promise.all(acts);
}

/** Waits for both, then throws the first failure. */
export async function together<A, B>(one: Promise<A>, other: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([one, other]);
  return Promise.all([one, other]);
}

/** Runs all at once, waits for all, and throws what has failed, see `combinedError`. */
export async function runAll(acts: readonly (() => Promise<unknown>)[]): Promise<void> {
  const outcomes = await Promise.allSettled(acts.map((act) => act()));
  const errors = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
  if (errors.length > 0) throw combinedError(errors);
}

/** The same, one after another; only a cancel stops it, a failure does not. */
export async function runInOrder(acts: readonly (() => Promise<unknown>)[]): Promise<void> {
  const errors: unknown[] = [];
  for (const act of acts) {
    try {
      await act();
    } catch (error) {
      errors.push(error);
      if (hasCode(error, 'Cancelled')) break;
    }
  }
  if (errors.length > 0) throw combinedError(errors);
}
