import { type LoadedConfig, overridesOf } from '#config/index.ts';
import type { Log } from '#core/operation.ts';

/** One line for all options that several files, or a file and a flag, set to different values. */
export function logOverrides(loaded: Pick<LoadedConfig, 'settings'>, log: Log): void {
  const all = overridesOf(loaded);
  if (all.length === 0) return;
  const text = all.map(
    ({ key, origin, overrides }) => `${key} (${origin} overrides ${overrides.join(', ')})`,
  );
  log.info(
    { overrides: all },
    `options that are set more than once, the last one counts: ${text.join('; ')}`,
  );
}
