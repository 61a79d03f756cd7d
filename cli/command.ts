/** Declaration of a command: options, exit codes and action. Help, documents, completions and errors come from it. */
import { parseArgs } from 'node:util';
import { nearest } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';

export interface Flag {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  /** May be given several times. */
  readonly multiple?: boolean;
  /** What the value is, in help: a placeholder, see `usage`. */
  readonly value?: string;
  /** The only values that are valid. */
  readonly choices?: readonly string[];
  readonly doc: string;
}

/** An exit code, or a name for several, and what it means. */
export type ExitCode = readonly [code: string, meaning: string];

/** A `parse`d command line. */
export interface Parsed {
  readonly args: readonly string[];
  /** The last value of a flag; undefined where it was not given. */
  text(flag: string): string | undefined;
  all(flag: string): readonly string[];
  has(flag: string): boolean;
}

export interface Command<C> {
  readonly name: string;
  readonly aliases?: readonly string[];
  /**
   * The arguments as help shows them: `CONTAINER COMMAND [ARG...]`. Completions follow it: words in small letters are
   * literal, those in capitals name what the argument is (cli/completion/candidates.ts).
   */
  readonly usage: string;
  readonly summary: string;
  readonly flags: Readonly<Record<string, Flag>>;
  /** Minimum and maximum number of arguments. */
  readonly arity: readonly [number, number];
  /** Flags end at the first argument, since what follows is a command of the container. */
  readonly greedy?: boolean;
  /** Where they differ from the usual ones. */
  readonly exits?: readonly ExitCode[];
  /** The commands below this one, which then only dispatches; loaded when they are needed. */
  readonly commands?: () => Promise<readonly Command<never>[]>;
  /** Resolves to the exit code. */
  run(context: C, parsed: Parsed): Promise<number>;
}

/** Replaced by the help of the command that has failed. */
export const GENERAL_HINT = 'see `crisp help`';

/** An invalid command line; exit code 2. */
export class UsageError extends CrispError {
  constructor(message: string, hint = GENERAL_HINT) {
    super('InvalidArgument', message, { hint });
  }
}

const takesValue = (flags: Readonly<Record<string, Flag>>, word: string): boolean => {
  if (word.includes('=')) return false;
  const byName = word.startsWith('--') ? flags[word.slice(2)] : undefined;
  const flag =
    byName ?? Object.values(flags).find(({ short }) => short !== undefined && word === `-${short}`);
  return flag?.type === 'string';
};

/** Splits words at the first argument that is neither a flag nor the value of one. */
export function splitAtArgument(
  words: readonly string[],
  flags: Readonly<Record<string, Flag>>,
): [string[], string[]] {
  let at = 0;
  while (at < words.length) {
    const word = words[at] ?? '';
    if (word === '--') return [words.slice(0, at), words.slice(at + 1)];
    if (!word.startsWith('-') || word === '-') break;
    at += takesValue(flags, word) ? 2 : 1;
  }
  return [words.slice(0, at), words.slice(at)];
}

/** The messages of `parseArgs` in the words of the other errors. */
function explain(error: unknown, flags: Readonly<Record<string, Flag>>): string {
  const message = error instanceof Error ? error.message : String(error);
  const unknown = /^Unknown option '(-[^']*)'/.exec(message)?.[1];
  if (unknown !== undefined) {
    const meant = nearest(unknown.replace(/^-+/, ''), Object.keys(flags));
    return `unknown option ${unknown}${meant ? ` (did you mean --${meant}?)` : ''}`;
  }
  const [, given = '', problem] =
    /^Option '(?:-\w, )?--?([a-z-]+)[^']*' (argument missing|argument is ambiguous|does not take)/.exec(
      message,
    ) ?? [];
  const found = Object.entries(flags).find(([name, { short }]) => name === given || short === given);
  if (!found) return message.split('\n')[0] ?? message;
  const [name, { value = 'VALUE' }] = found;
  if (problem === 'does not take') return `--${name} takes no value`;
  const dash = problem === 'argument missing' ? '' : `; write --${name}=${value} for one that begins with -`;
  return `--${name} requires a value (${value})${dash}`;
}

function problemOf(
  { type, multiple, choices }: Flag,
  given: readonly (string | boolean)[],
): string | undefined {
  if (type === 'string' && !multiple && given.length > 1) return `is given ${given.length} times`;
  const wrong = given.find((value) => choices && !choices.includes(String(value)));
  return wrong === undefined ? undefined : `must be one of ${choices?.join(', ')}, not '${wrong}'`;
}

type CommandLine = Pick<Command<never>, 'flags' | 'arity' | 'greedy'> & { readonly usage?: string };

/** Parses words by the flags. Throws UsageError. */
export function parse(
  name: string,
  words: readonly string[],
  { flags, arity, greedy = false, usage = '' }: CommandLine,
): Parsed {
  const hint = `see \`crisp ${name} --help\``;
  const [own, rest] = greedy ? splitAtArgument(words, flags) : [[...words], []];
  const options = Object.fromEntries(
    Object.entries(flags).map(([flag, { type, short }]) => [
      flag,
      { type, multiple: true, ...(short ? { short } : {}) },
    ]),
  );
  let values: Record<string, readonly (string | boolean)[] | undefined>;
  let args: string[];
  try {
    const result = parseArgs({ args: own, options, allowPositionals: true, strict: true });
    values = result.values as typeof values;
    args = [...result.positionals, ...rest];
  } catch (error) {
    throw new UsageError(`crisp ${name}: ${explain(error, flags)}`, hint);
  }
  for (const [flag, given = []] of Object.entries(values)) {
    const problem = flags[flag] && problemOf(flags[flag], given);
    if (problem) throw new UsageError(`crisp ${name}: --${flag} ${problem}`, hint);
  }
  const [min, max] = arity;
  const right = usage === '' ? hint : `usage: crisp ${name} ${usage}; ${hint}`;
  if (args.length < min) throw new UsageError(`crisp ${name}: too few arguments`, right);
  if (args.length > max) throw new UsageError(`crisp ${name}: unexpected argument '${args[max]}'`, right);
  const all = (flag: string): string[] => (values[flag] ?? []).map(String);
  return {
    args,
    all,
    text: (flag) => all(flag).at(-1),
    has: (flag) => (values[flag]?.length ?? 0) > 0,
  };
}
