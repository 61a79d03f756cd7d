/** `crisp ctl`: a client of any CRI v1 socket, with crictl's verbs. */
import { dirname, join } from 'node:path';
import { connectCri } from '#api/cri/v1/client.ts';
import { parseDuration } from '#config/index.ts';
import { type Command, type Parsed, parse, splitAtArgument, UsageError } from './command.ts';
import { checkpoint } from './ctl/checkpoint.ts';
import { create, inspect, rm, start, stop } from './ctl/containers.ts';
import type { Ctl, Terminal } from './ctl/context.ts';
import { cp } from './ctl/cp.ts';
import { debug } from './ctl/debug.ts';
import { events } from './ctl/events.ts';
import { attach, exec } from './ctl/exec.ts';
import { imagefsinfo, images, inspecti, rmi } from './ctl/images.ts';
import { logs } from './ctl/logs.ts';
import { inspectp, pods, rmp, runp, stopp } from './ctl/pods.ts';
import { portForward } from './ctl/port-forward.ts';
import { ps } from './ctl/ps.ts';
import { pull } from './ctl/pull.ts';
import { run } from './ctl/run.ts';
import { info, version } from './ctl/runtime.ts';
import { metricsp, stats, statsp } from './ctl/stats.ts';
import { runtimeConfig, update } from './ctl/update.ts';
import { ctlFlags, DEFAULT_ENDPOINT } from './ctl-flags.ts';
import { commandList, findCommand, flagHelp, runCommand } from './help.ts';

export const ctlCommands: readonly Command<Ctl>[] = [
  run,
  runp,
  pods,
  inspectp,
  stopp,
  rmp,
  create,
  start,
  ps,
  inspect,
  exec,
  attach,
  debug,
  portForward,
  cp,
  logs,
  stop,
  rm,
  pull,
  images,
  inspecti,
  rmi,
  imagefsinfo,
  stats,
  statsp,
  metricsp,
  events,
  update,
  checkpoint,
  version,
  info,
  runtimeConfig,
];

function help(): string {
  const lines = [
    'Usage: crisp ctl [OPTION...] COMMAND [ARG...]',
    '',
    'A client of any CRI v1 socket. Ids may be shortened.',
    '',
    'Commands:',
    ...commandList(ctlCommands),
    '',
    'Options:',
    ...flagHelp(ctlFlags),
    '',
    'Environment: CONTAINER_RUNTIME_ENDPOINT, IMAGE_SERVICE_ENDPOINT, CRISP_ADMIN_SOCKET',
  ];
  return `${lines.join('\n')}\n`;
}

/** The path of an endpoint. Throws UsageError where it is not a unix socket. */
export function socketPath(endpoint: string): string {
  const path = endpoint.replace(/^unix:(\/\/)?/, '');
  if (!path.startsWith('/')) {
    throw new UsageError(
      `the endpoint must be unix:///PATH or an absolute path, not '${endpoint}'`,
      `for example ${DEFAULT_ENDPOINT}`,
    );
  }
  return path;
}

function limitOf(text: string): number {
  const limit = parseDuration(/^\d+$/.test(text) ? `${text}s` : text);
  if (!limit) throw new UsageError(`crisp ctl: --timeout must be a duration such as 30s, not '${text}'`);
  return limit;
}

/** Runs `crisp ctl` with the rest of the command line; resolves to the exit code. */
export async function ctl(
  words: readonly string[],
  terminal: Terminal,
  signal: AbortSignal,
): Promise<number> {
  const [own, rest] = splitAtArgument(words, ctlFlags);
  const parsed = parse('ctl', own, { flags: ctlFlags, arity: [0, 0] });
  const [name, ...args] = rest[0] === 'help' ? [rest[1] ?? 'help', '--help'] : rest;
  if (name === undefined || name === 'help' || parsed.has('help')) {
    terminal.out(help());
    return name === undefined && !parsed.has('help') ? 2 : 0;
  }
  const command = findCommand('crisp ctl', ctlCommands, name);
  return runCommand(`ctl ${command.name}`, command, args, {
    out: terminal.out,
    run: (line) => withClient(parsed, { terminal, signal }, (context) => command.run(context, line)),
  });
}

/** Runs with a client of the endpoints that flags or the environment name. Throws UsageError where they are invalid. */
async function withClient(
  parsed: Parsed,
  { terminal, signal }: Pick<Ctl, 'terminal' | 'signal'>,
  run: (context: Ctl) => Promise<number>,
): Promise<number> {
  const runtime =
    parsed.text('runtime-endpoint') ?? (process.env['CONTAINER_RUNTIME_ENDPOINT'] || DEFAULT_ENDPOINT);
  const image = parsed.text('image-endpoint') ?? (process.env['IMAGE_SERVICE_ENDPOINT'] || runtime);
  const limit = limitOf(parsed.text('timeout') ?? '2m');
  using client = connectCri(socketPath(runtime), { imageSocket: socketPath(image), maxReceive: -1 });
  const beside = join(dirname(socketPath(runtime)), 'admin.sock');
  return await run({
    client,
    adminSocket: parsed.text('admin-socket') ?? (process.env['CRISP_ADMIN_SOCKET'] || beside),
    terminal,
    signal,
    call: (extraMs = 0) => ({ signal, timeoutMs: limit + extraMs }),
    now: () => BigInt(Date.now()) * 1_000_000n,
  });
}
