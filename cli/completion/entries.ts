/** What is completed after which commands; the scripts of all shells are made from it. */
import type { Command, Flag } from '../command.ts';
import { commandTree } from '../command-tree.ts';
import { type Candidates, candidatesOf, NONE, type Positions, positionsOf } from './candidates.ts';

export interface CompletedFlag {
  /** `-o`, `--output`. */
  readonly names: readonly string[];
  readonly doc: string;
  /** Undefined where it takes none. */
  readonly value: Candidates | undefined;
}

export interface CompletionEntry extends Positions {
  /** The commands before the cursor, with the aliases of the last: `ctl images`, `ctl img`; empty is crisp itself. */
  readonly names: readonly string[];
  readonly commands: readonly (readonly [name: string, doc: string])[];
  readonly flags: readonly CompletedFlag[];
  /** What follows its first argument is a command of a container. */
  readonly greedy: boolean;
}

/** The first clause, for one line beside a candidate. */
const brief = (text: string): string => text.split(/[.;:] |\.$/)[0] ?? text;

const flagOf = ([name, { short, type, value = '', doc }]: [string, Flag]): CompletedFlag => ({
  names: [...(short ? [`-${short}`] : []), `--${name}`],
  doc: brief(doc),
  value: type === 'string' ? candidatesOf(value) : undefined,
});

const HELP: CompletedFlag = { names: ['-h', '--help'], doc: 'Show the help', value: undefined };
const HELP_COMMAND = ['help', 'Show the help of a command'] as const;

const listed = (commands: readonly Command<never>[], prefix = ''): (readonly [string, string])[] =>
  commands
    .filter(({ name }) => name.startsWith(prefix))
    .map(({ name, summary }) => [name.slice(prefix.length), brief(summary)] as const);

/** `crisp help`, `crisp ctl help`: its arguments are the commands. */
const helpEntry = (name: string, words: readonly (readonly [string, string])[]): CompletionEntry => ({
  names: [name],
  commands: [],
  flags: [],
  greedy: false,
  places: [{ ...NONE, words: words.map(([word]) => word) }],
  repeats: false,
});

/** All entries; the first is crisp itself. */
export async function completionEntries(
  commands: readonly Command<never>[],
): Promise<readonly CompletionEntry[]> {
  const top = listed(commands).filter(([name]) => !name.includes(' '));
  const root: CompletionEntry = {
    names: [''],
    commands: [...top, HELP_COMMAND],
    flags: [HELP],
    greedy: false,
    places: [],
    repeats: false,
  };
  const entries = (await commandTree(commands)).flatMap(({ name, command, below }): CompletionEntry[] => {
    const parent = name.slice(0, name.length - command.name.length);
    const flags = Object.entries(command.flags).filter(([flag]) => flag !== 'help');
    const isGroup = below.length > 0;
    const entry: CompletionEntry = {
      names: [name, ...(command.aliases ?? []).map((alias) => `${parent}${alias}`)],
      // `config import` is below `config`, which is a command as well.
      commands: isGroup ? [...listed(below), HELP_COMMAND] : listed(commands, `${name} `),
      flags: [...flags.map(flagOf), HELP],
      greedy: command.greedy ?? false,
      ...(isGroup ? { places: [], repeats: false } : positionsOf(command)),
    };
    return isGroup ? [entry, helpEntry(`${name} help`, listed(below))] : [entry];
  });
  return [root, ...entries, helpEntry('help', top)];
}

/** Candidates as the scripts have them: words, and `@files`, `@pods`, which they resolve. */
export const wanted = ({ words, objects, files }: Candidates): string =>
  [...words, ...objects.map((kind) => `@${kind}`), ...(files ? ['@files'] : [])].join(' ');

/** What the values of flags are: for each set of candidates the commands and flags that have it. */
export function valuePatterns(entries: readonly CompletionEntry[]): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const { names, flags } of entries)
    for (const { names: spellings, value } of flags) {
      const want = value && wanted(value);
      if (!want) continue;
      const patterns = names.flatMap((name) => spellings.map((flag) => `${name} ${flag}`));
      found.set(want, [...(found.get(want) ?? []), ...patterns]);
    }
  return found;
}

/** The flags of an entry that are followed by a value. */
export const valuedFlags = ({ flags }: CompletionEntry): string[] =>
  flags.flatMap(({ names, value }) => (value ? names : []));

/** The variables that a script sets for an entry, with their items as that shell writes them; those without items are left out. */
export function variablesOf(
  entry: CompletionEntry,
  shell: {
    readonly quoted: (text: string) => string;
    readonly described: (name: string, doc: string) => string;
  },
): (readonly [name: string, items: readonly string[]])[] {
  const { commands, flags, places, repeats, greedy } = entry;
  const variables: [string, string[]][] = [
    ['subcommands', commands.map(([name, doc]) => shell.described(name, doc))],
    ['flags', flags.flatMap(({ names, doc }) => names.map((name) => shell.described(name, doc)))],
    ['valued', valuedFlags(entry)],
    ['args', places.map((place) => shell.quoted(wanted(place)))],
    ['repeats', repeats ? ['1'] : []],
    ['greedy', greedy ? ['1'] : []],
  ];
  return variables.filter(([, items]) => items.length > 0);
}

/** A text in single quotes, as bash and zsh read it. */
export const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
