/** Help of commands, and how a command is found and run by the words of a command line. */
import { nearest } from '#config/index.ts';
import {
  type Command,
  type ExitCode,
  type Flag,
  GENERAL_HINT,
  type Parsed,
  parse,
  splitAtArgument,
  UsageError,
} from './command.ts';

/** Of every command that declares nothing else. */
const EXITS: readonly ExitCode[] = [
  ['0', 'success'],
  ['1', 'failure; the error names the remedy'],
  ['2', 'invalid command line'],
  ['130', 'interrupted by SIGINT or SIGTERM'],
];

/** The usual exit codes, some with another meaning, and further ones. */
export function exitCodes(other: readonly ExitCode[] = []): readonly ExitCode[] {
  const changed = new Map(other);
  const further = other.filter(([code]) => !EXITS.some(([usual]) => usual === code));
  return [...EXITS.map(([code, meaning]): ExitCode => [code, changed.get(code) ?? meaning]), ...further];
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
export function commandHelp(name: string, command: Command<never>): string {
  const flags = flagHelp(command.flags);
  const exits = command.exits ?? EXITS;
  const width = Math.max(...exits.map(([code]) => code.length));
  const lines = [
    `Usage: crisp ${name} ${command.usage}`.trimEnd(),
    '',
    command.summary,
    ...(flags.length > 0 ? ['', 'Options:', ...flags] : []),
    '',
    'Exit codes:',
    ...exits.map(([code, meaning]) => `  ${code.padEnd(width)}  ${meaning}`),
  ];
  return `${lines.join('\n')}\n`;
}

const isHelp = (word: string): boolean => word === '--help' || word === '-h';

/** The words that are this command's own, not those of a command that it runs. */
function ownWords({ greedy, flags }: Command<never>, words: readonly string[]): readonly string[] {
  if (greedy) return splitAtArgument(words, flags)[0];
  const end = words.indexOf('--');
  return end < 0 ? words : words.slice(0, end);
}

/**
 * Prints the help of a command, or runs it with its parsed line; resolves to the exit code. `name` is `ctl ps`.
 * Throws UsageError with the command's help as the hint, unless it has a better one.
 */
export async function runCommand(
  name: string,
  command: Command<never>,
  words: readonly string[],
  { out, run }: { readonly out: (text: string) => void; run(parsed: Parsed): Promise<number> },
): Promise<number> {
  if (ownWords(command, words).some(isHelp)) {
    out(commandHelp(name, command));
    return 0;
  }
  try {
    return await run(parse(name, words, command));
  } catch (error) {
    if (!(error instanceof UsageError) || error.hint !== GENERAL_HINT) throw error;
    throw new UsageError(error.message, `see \`crisp ${name} --help\``);
  }
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
