/** The command line: `crisp serve | config | config import | check | status | ctl | image | trace | version | help`. */
import { readFileSync, writeSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { join } from 'node:path';
import { describeConfig, flaggedOptions, type LoadedConfig, loadConfig } from '#config/index.ts';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import { checkFlags } from './check-flags.ts';
import {
  type Command,
  commandHelp,
  commandList,
  type Flag,
  findCommand,
  type Parsed,
  parse,
  UsageError,
} from './command.ts';
import type { Terminal } from './ctl/context.ts';
import { importFlags } from './import-flags.ts';
import { sizeOf } from './live-region.ts';
import { statusFlags } from './status-flags.ts';
import { traceFlags } from './trace-flags.ts';

const CONFIG = '/etc/crisp/crisp.toml';
/** By then the daemon has loaded the modules that it always needs. */
const FLUSH_MS = 5000;
/** For a synchronous sleep while the reader of a pipe is slow. */
const SLEEP = new Int32Array(new SharedArrayBuffer(4));

interface Invocation {
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
}

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

const configFlags: Record<string, Flag> = {
  config: {
    type: 'string',
    short: 'c',
    value: 'FILE',
    doc: `Configuration file; default ${CONFIG}. FILE.d/*.toml is read after it`,
  },
  ...Object.fromEntries(
    [...flaggedOptions()].map(([name, { option }]): [string, Flag] => [
      name,
      { type: 'string', multiple: Array.isArray(option.fallback), value: 'VALUE', doc: option.doc },
    ]),
  ),
};

function load(parsed: Parsed): Promise<LoadedConfig> {
  const file = parsed.text('config');
  const given = [...flaggedOptions().keys()].filter((name) => parsed.has(name));
  return loadConfig({
    ...(file === undefined ? { files: [CONFIG] } : { requiredFiles: [file] }),
    dropIns: [`${file ?? CONFIG}.d`],
    flags: Object.fromEntries(given.map((name) => [name, parsed.all(name)])),
  });
}

const commands: readonly Command<Invocation>[] = [
  {
    name: 'serve',
    usage: '[OPTION...]',
    summary: 'Serve CRI until a signal ends it',
    flags: configFlags,
    arity: [0, 0],
    async run(_invocation, parsed) {
      const loaded = await load(parsed);
      const { serve } = await import('#daemon/main.ts');
      // bin/crisp sets a compile cache; a daemon that is killed would not write it on exit.
      setTimeout(flushCompileCache, FLUSH_MS).unref();
      await serve(loaded);
      return 0;
    },
  },
  {
    name: 'config',
    usage: '[OPTION...]',
    summary: 'Check the configuration and print it with the description and the source of each option',
    flags: configFlags,
    arity: [0, 0],
    async run({ terminal }, parsed) {
      terminal.out(describeConfig(await load(parsed)));
      return 0;
    },
  },
  {
    name: 'config import',
    usage: 'crio|containerd [FILE...]',
    summary: 'Print the configuration of CRI-O or containerd as that of crisp; nothing is written',
    flags: importFlags,
    arity: [1, Infinity],
    async run({ terminal }, parsed) {
      const { importConfig } = await import('./import.ts');
      return importConfig(parsed, terminal);
    },
  },
  {
    name: 'check',
    usage: '[--images [--repair]] [--output json] [OPTION...]',
    summary: 'Check whether this node can run crisp; with --images, what is on the disk, and repair it',
    flags: { ...checkFlags, ...configFlags },
    arity: [0, 0],
    async run({ terminal, signal }, parsed) {
      const { check } = await import('./check.ts');
      return check(parsed, { terminal, signal, config: (await load(parsed)).config });
    },
  },
  {
    name: 'ctl',
    usage: '[OPTION...] COMMAND [ARG...]',
    summary: 'Client of a CRI socket, with the commands of crictl',
    flags: {},
    arity: [0, Infinity],
    async run({ terminal, signal }, parsed) {
      const { ctl } = await import('./ctl.ts');
      return ctl(parsed.args, terminal, signal);
    },
  },
  {
    name: 'image',
    usage: 'import FILE | export IMAGE... --output FILE | explain IMAGE | pulls [--watch]',
    summary: 'Import and export image archives, explain pulls, show those that run',
    flags: {},
    arity: [0, Infinity],
    async run({ terminal, signal }, parsed) {
      const { image } = await import('./image.ts');
      const socket = async (file: string | undefined): Promise<string> => {
        const words = file === undefined ? [] : ['--config', file];
        const { config } = await load(parse('image', words, { flags: configFlags, arity: [0, 0] }));
        return config.adminSocket;
      };
      return image(parsed.args, { terminal, signal, socket });
    },
  },
  {
    name: 'status',
    usage: '[--output json] [OPTION...]',
    summary:
      'Show what the daemon is and does now: readiness, calls and pulls in progress, pods, leaks, memory',
    flags: { ...statusFlags, ...configFlags },
    arity: [0, 0],
    async run({ terminal, signal }, parsed) {
      const { status } = await import('./status.ts');
      return status(parsed, { terminal, signal, socket: (await load(parsed)).config.adminSocket });
    },
  },
  {
    name: 'trace',
    usage: 'POD',
    summary: "Show the duration of each stage of a pod's start",
    flags: traceFlags,
    arity: [1, 1],
    async run({ terminal }, parsed) {
      const { trace } = await import('./trace.ts');
      return trace(parsed, terminal);
    },
  },
  {
    name: 'version',
    usage: '',
    summary: 'Print the version',
    flags: {},
    arity: [0, 0],
    async run({ terminal }) {
      const text = readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8');
      terminal.out(`crisp ${(JSON.parse(text) as { version: string }).version} (node ${process.version})\n`);
      return 0;
    },
  },
];

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
  if (command.name === 'ctl' || command.name === 'image')
    return command.run(invocation, parse(command.name, ['--', ...args], command));
  if (args.includes('--help') || args.includes('-h')) {
    terminal.out(commandHelp('crisp', command));
    return 0;
  }
  return command.run(invocation, parse(command.name, args, command));
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
