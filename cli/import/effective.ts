/** Which value of a key counts, where several files have it. */
import { joinPath } from '#core/toml/locate.ts';
import type { Leaf } from './leaf.ts';
import { matchKeys, type PeerOption } from './option.ts';
import type { Peer } from './peer.ts';

export interface Matched {
  readonly option: PeerOption;
  readonly names: readonly string[];
}

/** The option of a key; the first in the tables counts. */
export function optionOf(peer: Peer, keys: readonly string[]): Matched | undefined {
  for (const option of peer.options) {
    const names = matchKeys(option.keys, keys);
    if (names) return { option, names };
  }
  return undefined;
}

export class Effective {
  readonly #peer: Peer;
  readonly #overridden = new Map<Leaf, string>();
  readonly #values = new Map<string, unknown>();

  constructor(peer: Peer, leaves: readonly Leaf[]) {
    this.#peer = peer;
    const last = this.#lastOfUnits(leaves);
    for (const leaf of leaves) {
      const unit = peer.unit(leaf.keys);
      const counts = last.get(joinPath(unit));
      if (peer.merge(leaf) !== 'adds' && counts && counts.file > leaf.file) {
        const whole = unit.length < leaf.keys.length ? ', which has the whole table again' : '';
        this.#overridden.set(leaf, `overridden by ${counts.origin}${whole}`);
      }
      if (!this.#overridden.has(leaf)) this.#values.set(joinPath(leaf.keys), leaf.value);
    }
  }

  #lastOfUnits(leaves: readonly Leaf[]): ReadonlyMap<string, Leaf> {
    const last = new Map<string, Leaf>();
    for (const leaf of leaves) {
      const unit = joinPath(this.#peer.unit(leaf.keys));
      const earlier = last.get(unit);
      if (this.#peer.merge(leaf) === 'empty' && earlier)
        this.#overridden.set(leaf, `an empty value does not replace that of ${earlier.origin}`);
      else if (this.#peer.merge(leaf) !== 'adds' && earlier?.file !== leaf.file) last.set(unit, leaf);
    }
    return last;
  }

  /** Why the value does not count; undefined where it does. */
  overridden(leaf: Leaf): string | undefined {
    return this.#overridden.get(leaf);
  }

  /** The value that counts, else the peer's default. */
  get(keys: readonly string[]): unknown {
    const path = joinPath(keys);
    return this.#values.has(path) ? this.#values.get(path) : optionOf(this.#peer, keys)?.option.fallback;
  }

  below(keys: readonly string[]): (readonly [key: string, value: unknown])[] {
    const prefix = `${joinPath(keys)}\0`;
    return [...this.#values].flatMap(([path, value]): (readonly [string, unknown])[] => {
      const rest = path.startsWith(prefix) ? path.slice(prefix.length) : '\0';
      return rest.includes('\0') ? [] : [[rest, value]];
    });
  }
}
