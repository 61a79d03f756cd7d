/** `crisp ctl exec`: a command in a running container, with its streams or (-s) without. */
import { cri } from '#api/cri/v1/index.ts';
import type { Command, Flag, Parsed } from '../command.ts';
import { COMMAND_EXITS, type Ctl, secondsOf } from './context.ts';
import { joinSession, type SessionOptions, streamsOf } from './remote-session.ts';

export const streamFlags: Record<string, Flag> = {
  interactive: { type: 'boolean', short: 'i', doc: 'Pass the standard input' },
  tty: { type: 'boolean', short: 't', doc: 'Allocate a terminal' },
};

export const sessionOptions = (parsed: Parsed): SessionOptions => ({
  interactive: parsed.has('interactive'),
  tty: parsed.has('tty'),
});

export const exec: Command<Ctl> = {
  name: 'exec',
  usage: '[-i] [-t] [--sync] CONTAINER COMMAND [ARG...]',
  summary: 'Run a command in a container; exits with its code',
  flags: {
    ...streamFlags,
    sync: { type: 'boolean', short: 's', doc: 'Without streams: wait for the end, then show the output' },
    timeout: { type: 'string', value: 'SECONDS', doc: 'With -s: kill the command after this time; 0: never' },
  },
  arity: [2, Infinity],
  exits: COMMAND_EXITS,
  greedy: true,
  async run(ctl, parsed) {
    const [containerId = '', ...cmd] = parsed.args;
    if (parsed.has('sync')) return execSync(ctl, parsed, containerId, cmd);
    const options = sessionOptions(parsed);
    const { url } = await ctl.client.Exec({ containerId, cmd, ...streamsOf(options) }, ctl.call());
    return joinSession(url, options, ctl.terminal, ctl.signal);
  },
};

export const attach: Command<Ctl> = {
  name: 'attach',
  usage: '[-i] [-t] CONTAINER',
  summary: "Attach to the streams of a container's main process",
  flags: streamFlags,
  arity: [1, 1],
  async run(ctl, parsed) {
    const [containerId = ''] = parsed.args;
    const options = sessionOptions(parsed);
    const { url } = await ctl.client.Attach({ containerId, ...streamsOf(options) }, ctl.call());
    return joinSession(url, options, ctl.terminal, ctl.signal);
  },
};

async function execSync(
  ctl: Ctl,
  parsed: Parsed,
  containerId: string,
  cmd: readonly string[],
): Promise<number> {
  const timeout = secondsOf(parsed, 'timeout', 0);
  const request = cri.ExecSyncRequest.fromObject({ containerId, cmd, timeout });
  const limit = timeout === 0 ? Infinity : timeout * 1000 + 120_000;
  const { stdout, stderr, exitCode } = await ctl.client.ExecSync(request, {
    ...ctl.call(),
    timeoutMs: limit,
  });
  ctl.terminal.out(stdout);
  ctl.terminal.err(stderr);
  return exitCode & 0xff;
}
