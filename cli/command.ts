/** Declaration of a command: options, help and action. Help and errors come from the same declaration. */
import { parseArgs } from 'node:util';
import { nearest } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';

export interface Flag {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  /** May be given several times. */
  readonly multiple?: boolean;
  /** What the value is, in help. */
  readonly value?: string;
  readonly doc: string;
}

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
  /** The arguments as help shows them: `CONTAINER COMMAND [ARG...]`. */
  readonly usage: string;
  readonly summary: string;
  readonly flags: Readonly<Record<string, Flag>>;
  /** Minimum and maximum number of arguments. */
  readonly arity: readonly [number, number];
  /** Flags end at the first argument, since what follows is a command of the container. */
  readonly greedy?: boolean;
  /** Resolves to the exit code. */
  run(context: C, parsed: Parsed): Promise<number>;
}

/** An invalid command line; exit code 2. */
export class UsageError extends CrispError {
  constructor(message: string, hint = 'see `crisp help`') {
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

function explain(error: unknown, flags: Readonly<Record<string, Flag>>): string {
  const message = error instanceof Error ? error.message : String(error);
  const unknown = /^Unknown option '(-[^']*)'/.exec(message)?.[1];
  if (unknown === undefined) return message.split('. ')[0] ?? message;
  const meant = nearest(unknown.replace(/^-+/, ''), Object.keys(flags));
  return `unknown option ${unknown}${meant ? ` (did you mean --${meant}?)` : ''}`;
}

/** Parses words by the flags. Throws UsageError. */
export function parse(
  name: string,
  words: readonly string[],
  { flags, arity, greedy = false }: Pick<Command<never>, 'flags' | 'arity' | 'greedy'>,
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
  for (const [flag, given] of Object.entries(values)) {
    const tooMany =
      given !== undefined && given.length > 1 && flags[flag]?.type === 'string' && !flags[flag]?.multiple;
    if (tooMany) throw new UsageError(`crisp ${name}: --${flag} is given ${given.length} times`, hint);
  }
  const [min, max] = arity;
  if (args.length < min) throw new UsageError(`crisp ${name}: too few arguments`, hint);
  if (args.length > max) throw new UsageError(`crisp ${name}: unexpected argument '${args[max]}'`, hint);
  const all = (flag: string): string[] => (values[flag] ?? []).map(String);
  return { args, all, text: (flag) => all(flag).at(-1), has: (flag) => (values[flag]?.length ?? 0) > 0 };
}

/** The flags as lines of help. */
export function flagHelp(flags: Readonly<Record<string, Flag>>): string[] {
  const rows = Object.entries(flags).map(([name, { type, short, value, doc }]) => {
    const left = `${short ? `-${short}, ` : '    '}--${name}${type === 'string' ? ` ${value ?? 'VALUE'}` : ''}`;
    return [left, doc] as const;
  });
  const width = Math.min(38, Math.max(0, ...rows.map(([left]) => left.length)));
  return rows.map(([left, doc]) => `  ${left.padEnd(width)}  ${doc}`);
}

/** The help of one command. */
export function commandHelp(prefix: string, command: Command<never>): string {
  const lines = [`Usage: ${prefix} ${command.name} ${command.usage}`.trimEnd(), '', command.summary];
  const flags = flagHelp(command.flags);
  return `${[...lines, ...(flags.length > 0 ? ['', 'Options:', ...flags] : [])].join('\n')}\n`;
}

/** The command of that name or alias. Throws UsageError with the nearest name. */
export function findCommand<C>(prefix: string, commands: readonly Command<C>[], name: string): Command<C> {
  const found = commands.find((command) => command.name === name || command.aliases?.includes(name));
  if (found) return found;
  const meant = nearest(
    name,
    commands.map((command) => command.name),
  );
  throw new UsageError(
    `${prefix}: unknown command '${name}'${meant ? ` (did you mean ${meant}?)` : ''}`,
    `see \`${prefix} help\``,
  );
}

/** The list of commands for help. */
export function commandList(commands: readonly Pick<Command<never>, 'name' | 'summary'>[]): string[] {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
}
