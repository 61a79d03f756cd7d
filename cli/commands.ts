/** The table of commands. Documents, completions and help are made from it. */
import { flushCompileCache } from 'node:module';
import { configDocument, describeConfig } from '#config/index.ts';
import { checkFlags } from './check-flags.ts';
import { type Command, type ExitCode, parse } from './command.ts';
import { completionFlags } from './completion-flags.ts';
import { configFlags, loadFor, reloadFlags } from './config-flags.ts';
import type { Terminal } from './ctl/context.ts';
import { ctlFlags } from './ctl-flags.ts';
import { exitCodes } from './help.ts';
import { importFlags } from './import-flags.ts';
import { jsonText, outputFlag, outputOf, TEXT_OR_JSON } from './output.ts';
import { topFlags } from './top-flags.ts';
import { traceFlags } from './trace-flags.ts';

/** By then the daemon has loaded the modules that it always needs. */
const FLUSH_MS = 5000;
const CONFIG_FORMATS = ['toml', 'json'] as const;
const SERVE_EXITS: readonly ExitCode[] = [
  ['0', 'stopped by SIGTERM or SIGINT; pods keep running'],
  ['1', 'the daemon could not start; the error names the remedy'],
  ['2', 'invalid command line'],
];

export interface Invocation {
  readonly terminal: Terminal;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
}

export const commands: readonly Command<Invocation>[] = [
  {
    name: 'serve',
    usage: '[OPTION...]',
    summary: 'Serve CRI until a signal ends it',
    flags: configFlags,
    arity: [0, 0],
    exits: SERVE_EXITS,
    async run(_invocation, parsed) {
      const loaded = await loadFor(parsed);
      const { serve } = await import('#daemon/main.ts');
      // bin/crisp sets a compile cache; a daemon that is killed would not write it on exit.
      setTimeout(flushCompileCache, FLUSH_MS).unref();
      await serve(loaded, () => loadFor(parsed));
      return 0;
    },
  },
  {
    name: 'config',
    usage: '[--output json] [OPTION...]',
    summary: 'Check the configuration and print it with the description and the source of each option',
    flags: { ...outputFlag(CONFIG_FORMATS), ...configFlags },
    arity: [0, 0],
    exits: exitCodes([['1', 'the configuration is invalid: each line of the error names file and line']]),
    async run({ terminal }, parsed) {
      const format = outputOf(parsed, CONFIG_FORMATS);
      const loaded = await loadFor(parsed);
      terminal.out(format === 'toml' ? describeConfig(loaded) : jsonText(configDocument(loaded)));
      return 0;
    },
  },
  {
    name: 'config import',
    usage: 'crio|containerd [FILE...]',
    summary: 'Print the configuration of CRI-O or containerd as that of crisp; nothing is written',
    flags: importFlags,
    arity: [1, Infinity],
    exits: exitCodes([
      ['0', 'success, also where something is not translated'],
      ['1', 'a file is missing or invalid; the error names file and line'],
    ]),
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
    exits: exitCodes([
      ['0', 'no check failed; there may be warnings'],
      ['1', 'a check failed, or with --images something is damaged and was not repaired'],
    ]),
    async run({ terminal, signal }, parsed) {
      const { check } = await import('./check.ts');
      return check(parsed, { terminal, signal, config: (await loadFor(parsed)).config });
    },
  },
  {
    name: 'ctl',
    usage: '[OPTION...] COMMAND [ARG...]',
    summary: 'Client of a CRI socket, with the commands of crictl',
    flags: ctlFlags,
    arity: [0, Infinity],
    commands: async () => (await import('./ctl.ts')).ctlCommands,
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
    commands: async () => (await import('./image.ts')).imageCommands,
    async run({ terminal, signal }, parsed) {
      const { image } = await import('./image.ts');
      const socket = async (file: string | undefined): Promise<string> => {
        const words = file === undefined ? [] : ['--config', file];
        const { config } = await loadFor(parse('image', words, { flags: configFlags, arity: [0, 0] }));
        return config.adminSocket;
      };
      return image(parsed.args, { terminal, signal, socket });
    },
  },
  {
    name: 'status',
    usage: '[--output json] [OPTION...]',
    summary: 'Show what the daemon is and does now: health, calls and pulls in progress, pods, leaks, memory',
    flags: { ...outputFlag(TEXT_OR_JSON), ...configFlags },
    arity: [0, 0],
    exits: exitCodes([
      ['0', 'the node can have pods'],
      ['1', 'the node can have no pods, the daemon is not live, or none replied'],
    ]),
    async run({ terminal, signal }, parsed) {
      const { status } = await import('./status.ts');
      return status(parsed, { terminal, signal, socket: (await loadFor(parsed)).config.adminSocket });
    },
  },
  {
    name: 'nri',
    usage: '[--output json] [OPTION...]',
    summary: 'List the NRI plugins: index, name, process, state, calls and their durations, the last error',
    flags: { ...outputFlag(TEXT_OR_JSON), ...configFlags },
    arity: [0, 0],
    async run({ terminal, signal }, parsed) {
      const { nri } = await import('./nri.ts');
      return nri(parsed, { terminal, signal, socket: (await loadFor(parsed)).config.adminSocket });
    },
  },
  {
    name: 'top',
    usage: '[--once] [--sort COLUMN] [--output json]',
    summary: 'Show the CPU, memory, processes and restarts of pods and containers, again and again',
    flags: topFlags,
    arity: [0, 0],
    exits: exitCodes([['0', 'success, also when the view is interrupted']]),
    async run({ terminal, signal }, parsed) {
      const { top } = await import('./top.ts');
      return top(parsed, terminal, signal);
    },
  },
  {
    name: 'reload',
    usage: '[--config FILE] [--admin-socket PATH]',
    summary: 'Have the daemon read its configuration again; a wrong one changes nothing',
    flags: { ...outputFlag(TEXT_OR_JSON), ...reloadFlags },
    arity: [0, 0],
    exits: exitCodes([
      ['0', 'the configuration is in effect, but for changes that need a restart, which are named'],
      ['1', 'the configuration is wrong and nothing has changed, or no daemon replied'],
    ]),
    async run({ terminal, signal }, parsed) {
      const { reload } = await import('./reload.ts');
      const socket = async (): Promise<string> => (await loadFor(parsed)).config.adminSocket;
      return reload(parsed, { terminal, signal, socket });
    },
  },
  {
    name: 'trace',
    usage: '[--output json] POD',
    summary: "Show the duration of each stage of a pod's start",
    flags: traceFlags,
    arity: [1, 1],
    async run({ terminal }, parsed) {
      const { trace } = await import('./trace.ts');
      return trace(parsed, terminal);
    },
  },
  {
    name: 'completion',
    usage: 'bash|zsh|fish',
    summary: 'Print the completion script of a shell',
    flags: completionFlags,
    arity: [0, 1],
    async run({ terminal, signal }, parsed) {
      const { completion } = await import('./completion.ts');
      return completion(parsed, commands, { terminal, signal });
    },
  },
  {
    name: 'version',
    usage: '',
    summary: 'Print the version',
    flags: outputFlag(TEXT_OR_JSON),
    arity: [0, 0],
    async run({ terminal }, parsed) {
      const { version } = await import('./version.ts');
      return version(parsed, terminal);
    },
  },
];
