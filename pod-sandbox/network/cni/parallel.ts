/**
 * Which plugins of a list may run at the same time. In general none: each gets the result of the one before it, and what
 * a plugin has made is another's ground. Two of the reference plugins are of no concern to the others: loopback, which
 * touches nothing but the pod's `lo`, and portmap for a pod that publishes no port. Both hand on the result as they get
 * it.
 */
import { hasCode } from '#core/errors.ts';
import type { Attachment } from './attachment.ts';
import type { PluginConfig } from './conflist.ts';
import { firstOf } from './failed-add.ts';

type Capable = Pick<Attachment, 'capabilities'>;

/** Whether the plugin neither needs nor changes anything of the others. */
export function runsBeside({ type }: PluginConfig, { capabilities }: Capable): boolean {
  return type === 'loopback' || (type === 'portmap' && !Object.hasOwn(capabilities, 'portMappings'));
}

/** The list in groups, one after another: neighbours that stand aside are one group, every other plugin is its own. */
export function groupsOf(plugins: readonly PluginConfig[], attachment: Capable): PluginConfig[][] {
  const groups: PluginConfig[][] = [];
  let open: PluginConfig[] | undefined;
  for (const plugin of plugins) {
    const aside = runsBeside(plugin, attachment);
    if (aside && open) {
      open.push(plugin);
      continue;
    }
    const group = [plugin];
    groups.push(group);
    open = aside ? group : undefined;
  }
  return groups;
}

/** Waits for all, then returns their values in order or throws the first failure of the list. */
export async function all<T>(acts: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(acts);
  return Promise.all(acts);
}

/** Runs all at once, waits for all, and throws what has failed, see `firstOf`. */
export async function eachOf(acts: readonly (() => Promise<unknown>)[]): Promise<void> {
  const outcomes = await Promise.allSettled(acts.map((act) => act()));
  const errors = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
  if (errors.length > 0) throw firstOf(errors);
}

/** The same, one after another, on past failures but for a cancel. */
export async function eachInTurn(acts: readonly (() => Promise<unknown>)[]): Promise<void> {
  const errors: unknown[] = [];
  for (const act of acts) {
    try {
      await act();
    } catch (error) {
      errors.push(error);
      if (hasCode(error, 'Cancelled')) break;
    }
  }
  if (errors.length > 0) throw firstOf(errors);
}
