/** The settings of crisp that are made, each once. */
import { isDeepStrictEqual } from 'node:util';
import { type Assignment, fallbackAt, optionAt } from '#config/index.ts';
import { joinPath } from '#core/toml/locate.ts';
import type { Leaf } from './leaf.ts';
import type { Assigned } from './option.ts';
import { keyText } from './text.ts';

interface Made extends Assignment {
  readonly by: Leaf;
}

export class Settings {
  readonly #made = new Map<string, Made>();

  /** `made`; `same`: it is crisp's default, nothing is set; else the reason why it cannot be set. */
  assign([keys, raw]: Assigned, by: Leaf, comments: readonly string[]): 'made' | 'same' | { reason: string } {
    const option = optionAt(keys);
    const name = keyText(keys);
    if (!option) throw new Error(`${name} is not an option of crisp`);
    const value = option.parse(raw);
    if (value === undefined) return { reason: `crisp's ${name} must be ${option.expected}` };
    const other = this.#made.get(joinPath(keys));
    if (other && !isDeepStrictEqual(other.value, value))
      return { reason: `crisp has one ${name}, which ${other.by.origin} has set to another value` };
    if (!other && isDeepStrictEqual(value, fallbackAt(keys))) return 'same';
    this.#made.set(joinPath(keys), {
      keys,
      value,
      by: other?.by ?? by,
      comments: [...(other?.comments ?? []), ...comments],
    });
    return 'made';
  }

  /** Whether an option, or one below these keys, is set. */
  isSet(keys: readonly string[]): boolean {
    const prefix = `${joinPath(keys)}\0`;
    return [...this.#made.keys()].some((path) => `${path}\0`.startsWith(prefix));
  }

  list(): Assignment[] {
    return [...this.#made.values()];
  }
}
