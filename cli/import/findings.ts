/** From the keys of a peer's files to the settings of crisp, and what is to be said about each key. */
import { isDeepStrictEqual } from 'node:util';
import { type Assignment, isTable, nearest } from '#config/index.ts';
import { joinPath } from '#core/toml/locate.ts';
import { Effective, type Matched, optionOf } from './effective.ts';
import { invalid, type Leaf } from './leaf.ts';
import { type Assigned, fill, matchKeys, type PeerOption, type Result } from './option.ts';
import type { Derived, Peer } from './peer.ts';
import { Settings } from './settings.ts';
import { keyText, valueText } from './text.ts';

/**
 * set: an option of crisp has a value; same: crisp does the same; default: at the peer's default, no counterpart;
 * differs: at the peer's default, crisp does something else; cannot: to be done by hand; overridden: another file's counts.
 */
export type Outcome = 'set' | 'same' | 'default' | 'differs' | 'cannot' | 'overridden';

export interface Finding {
  readonly leaf: Leaf;
  readonly outcome: Outcome;
  readonly note: string;
  /** The value may be shown. */
  readonly open: boolean;
  readonly sets: readonly Assigned[];
}

export interface Findings {
  readonly findings: readonly Finding[];
  readonly settings: readonly Assignment[];
  /** Options that no file sets and whose defaults differ. */
  readonly unset: readonly PeerOption[];
}

const TYPES: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a whole number',
  boolean: 'true or false',
};

/** The type of a default in words; undefined where any will do. */
const typeOf = (fallback: unknown): string | undefined =>
  Array.isArray(fallback) ? 'a list' : TYPES[typeof fallback];

function isOfType(value: unknown, fallback: unknown): boolean {
  if (typeOf(fallback) === undefined) return true;
  if (Array.isArray(fallback) || Array.isArray(value)) return Array.isArray(value) && Array.isArray(fallback);
  return (typeof value === 'bigint' ? 'number' : typeof value) === typeof fallback;
}

/** Throws InvalidArgument where the peer would refuse the type of a value. */
function checkTypes(peer: Peer, leaves: readonly Leaf[]): void {
  const problems = leaves.flatMap((leaf) => {
    const option = optionOf(peer, leaf.keys)?.option;
    if (!option || isOfType(leaf.value, option.fallback)) return [];
    const shown = valueText(leaf.value, option.secret !== true);
    return [`${leaf.origin}: ${keyText(leaf.written)} must be ${typeOf(option.fallback)}, not ${shown}`];
  });
  if (problems.length > 0) throw invalid(problems, `correct these lines: ${peer.name} refuses them, too`);
}

function unknownKey(peer: Peer, leaf: Leaf): Result {
  if (isTable(leaf.value) && Object.keys(leaf.value).length === 0) return { same: 'an empty table' };
  const table = leaf.keys.slice(0, -1);
  const beside = peer.options.filter(({ keys }) => matchKeys(keys.slice(0, -1), table));
  const meant = nearest(
    leaf.keys.at(-1) ?? '',
    beside.map(({ keys }) => keys.at(-1) ?? ''),
  );
  const hint = meant ? ` (did you mean ${meant}?)` : '';
  return { cannot: `not an option of ${peer.name} ${peer.version}, which ignores such keys${hint}` };
}

function resultOf(peer: Peer, leaf: Leaf, matched: Matched | undefined, effective: Effective): Result {
  if (!matched) return unknownKey(peer, leaf);
  const { option, names } = matched;
  if (option.convert) {
    const get = (...keys: readonly string[]) => effective.get(fill(keys, names));
    const below = (...keys: readonly string[]) => effective.below(fill(keys, names));
    return option.convert(leaf.value, { names, get, below });
  }
  if (option.kind === 'maps') return { set: [[fill(option.to?.split('.') ?? [], names), leaf.value]] };
  if (option.kind === 'moot') return { same: option.note };
  return { cannot: option.kind === 'manual' ? `choose ${option.to}: ${option.note}` : option.note };
}

class Translator {
  readonly settings = new Settings();
  readonly #peer: Peer;
  readonly #effective: Effective;

  constructor(peer: Peer, effective: Effective) {
    this.#peer = peer;
    this.#effective = effective;
  }

  finding(leaf: Leaf): Finding {
    const matched = optionOf(this.#peer, leaf.keys);
    // What is only known as something below a table may be a misspelt one.
    const isNamed = matched !== undefined && matched.option.keys.at(-1) !== '**';
    const open =
      matched?.option.secret !== true &&
      (isNamed || !/pass|auth|token|secret|header|credential/i.test(leaf.keys.join('.')));
    const [outcome, note, sets] = this.#outcome(leaf, matched, open);
    return { leaf, outcome, note, open, sets: sets ?? [] };
  }

  #outcome(leaf: Leaf, matched: Matched | undefined, open: boolean): [Outcome, string, Assigned[]?] {
    const overridden = this.#effective.overridden(leaf);
    if (overridden !== undefined) return ['overridden', overridden];
    const result = resultOf(this.#peer, leaf, matched, this.#effective);
    if ('same' in result) return ['same', result.same];
    if ('set' in result) return this.#set(leaf, result.set, result.note ?? matched?.option.note ?? '', open);
    if (!matched || !isDeepStrictEqual(leaf.value, matched.option.fallback)) return ['cannot', result.cannot];
    const { differs } = matched.option;
    return differs === undefined ? ['default', ''] : ['differs', differs];
  }

  #set(leaf: Leaf, sets: readonly Assigned[], note: string, open: boolean): [Outcome, string, Assigned[]?] {
    const line = `${keyText(leaf.written)} = ${valueText(leaf.value, open)} (${leaf.origin})`;
    const outcomes = sets.map((set) =>
      this.settings.assign(set, leaf, note === '' ? [line] : [`${line}: ${note}`]),
    );
    const made = sets.filter((_, index) => outcomes[index] === 'made');
    const reasons = outcomes.flatMap((outcome) => (typeof outcome === 'object' ? [outcome.reason] : []));
    if (reasons.length > 0) return ['cannot', reasons.join('; '), made];
    return made.length > 0 ? ['set', note, made] : ['same', 'the same here'];
  }

  derived({ leaf, set, note }: Derived): Finding[] {
    const outcome = this.settings.assign(set, leaf, [`${note} (${leaf.origin})`]);
    if (outcome === 'same') return [];
    if (outcome === 'made') return [{ leaf, outcome: 'set', note, open: true, sets: [set] }];
    return [{ leaf, outcome: 'cannot', note: `${note}; but ${outcome.reason}`, open: true, sets: [] }];
  }
}

/** All keys of the files, in their order, and the settings that follow. Throws InvalidArgument for values of a wrong type. */
export function findingsOf(peer: Peer, leaves: readonly Leaf[]): Findings {
  checkTypes(peer, leaves);
  const effective = new Effective(peer, leaves);
  const translator = new Translator(peer, effective);
  const findings = leaves.map((leaf) => translator.finding(leaf));
  const derived = peer.finish({
    leaves: leaves.filter((leaf) => effective.overridden(leaf) === undefined),
    isSet: (...keys) => translator.settings.isSet(keys),
  });
  const present = new Set(leaves.map(({ keys }) => joinPath(keys)));
  return {
    findings: [...findings, ...derived.flatMap((one) => translator.derived(one))],
    settings: translator.settings.list(),
    unset: peer.options.filter(
      ({ keys, differs }) =>
        differs !== undefined &&
        !keys.some((key) => key === '*' || key === '**') &&
        !present.has(joinPath(keys)),
    ),
  };
}
