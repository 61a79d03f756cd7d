/** Options that are set in several places: the last one counts, which is what drop-ins are for, and hard to find where it is not. */
import { isDeepStrictEqual } from 'node:util';
import type { LoadedConfig, Setting } from './load.ts';

/** An option, and the places of other values that do not count. */
export interface Override {
  /** `image.pinned`. */
  readonly key: string;
  readonly origin: string;
  readonly overrides: readonly string[];
}

/** Where earlier files set another value; in their order. */
export const overridden = ({ value, earlier = [] }: Setting): string[] =>
  earlier.filter((one) => !isDeepStrictEqual(one.value, value)).map(({ origin }) => origin);

export const overridesOf = ({ settings }: Pick<LoadedConfig, 'settings'>): Override[] =>
  [...settings].flatMap(([path, setting]) => {
    const overrides = overridden(setting);
    return overrides.length === 0
      ? []
      : [{ key: path.split('\0').join('.'), origin: setting.origin, overrides }];
  });
