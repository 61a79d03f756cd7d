/** The command line: `crisp COMMAND`; commands.ts has the commands. */
import { writeSync } from 'node:fs';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import { parse, UsageError } from './command.ts';
import { commands, type Invocation } from './commands.ts';
import type { Terminal } from './ctl/context.ts';
import { commandList, findCommand, runCommand } from './help.ts';
import { sizeOf } from './live-region.ts';

/** For a synchronous sleep while the reader of a pipe is slow. */
const SLEEP = new Int32Array(new SharedArrayBuffer(4));

/** Synchronous, so that all is written before the exit; a closed pipe is not an error of this process. */
function write(descriptor: number, text: string | Uint8Array): void {
  let rest: Uint8Array = typeof text === 'string' ? Buffer.from(text) : text;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest));
    } catch (error) {
      if (errnoOf(error) === 'EAGAIN') Atomics.wait(SLEEP, 0, 0, 5);
      else if (errnoOf(error) === 'EPIPE') process.exit(141);
      else throw error;
    }
  }
}

const help = (): string =>
  [
    'crisp is a Kubernetes CRI runtime.',
    '',
    'Usage: crisp COMMAND [ARG...]',
    '',
    'Commands:',
    ...commandList(commands),
    '',
  ].join('\n');

/** The name of a command may be two words. */
function splitName([first, second, ...rest]: readonly string[]): [name: string | undefined, args: string[]] {
  const both = `${first} ${second}`;
  if (commands.some(({ name }) => name === both)) return [both, rest];
  return [first, second === undefined ? rest : [second, ...rest]];
}

/** Runs one command line; resolves to the exit code: 0, 1 for a failure, 2 for an invalid command line. */
export async function main(words: readonly string[], invocation: Invocation): Promise<number> {
  const { terminal } = invocation;
  const isHelp = words[0] === 'help' && words[1] !== undefined;
  const [name, args] = splitName(isHelp ? [...words.slice(1), '--help'] : words);
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    terminal.out(help());
    return name === undefined ? 2 : 0;
  }
  const command = findCommand('crisp', commands, name === '--version' ? 'version' : name);
  if (command.commands) return command.run(invocation, parse(command.name, ['--', ...args], command));
  return runCommand(command.name, command, args, {
    out: terminal.out,
    run: (parsed) => command.run(invocation, parsed),
  });
}

/** The text of an error for the user, and the exit code. */
export function report(error: unknown): [text: string, code: number] {
  const lines = describeError(error)
    .split('\n')
    .map((line) => (line.startsWith('crisp ') ? line : `crisp: ${line}`));
  if (!(error instanceof CrispError))
    return [`${lines.join('\n')}\n${error instanceof Error ? error.stack : ''}\n`, 1];
  // The message of a server includes its own hint; the local hint helps only where no server replied.
  const isRemote = 'status' in error && error.code !== 'Unavailable';
  return [
    `${[...lines, ...(isRemote ? [] : [`hint: ${error.hint}`])].join('\n')}\n`,
    error instanceof UsageError ? 2 : 1,
  ];
}

if (import.meta.main) {
  const interrupt = new AbortController();
  const words = process.argv.slice(2);
  // The daemon handles signals itself; any other command is aborted by the first signal and killed by the second.
  if (words[0] !== 'serve')
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupt.abort());
  const terminal: Terminal = {
    out: (text) => write(1, text),
    err: (text) => write(2, text),
    interactive: process.stderr.isTTY === true,
    size: () => sizeOf(process.stderr),
  };
  try {
    process.exitCode = await main(words, { terminal, signal: interrupt.signal });
  } catch (error) {
    const [text, code] = report(error);
    terminal.err(text);
    process.exitCode = interrupt.signal.aborted ? 130 : code;
    // Open sockets and threads of the daemon would keep the process alive.
    if (words[0] === 'serve') process.exit();
  }
}
