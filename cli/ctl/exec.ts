/** `crisp ctl exec`: a command in a running container, with its streams or (-s) without. */
import { Readable } from 'node:stream';
import { type ExecReply, type ExecRequest, execPath } from '#api/admin/contract.ts';
import { cri } from '#api/cri/v1/index.ts';
import { receiveJson } from '../admin-client.ts';
import { type Command, type Flag, type Parsed, UsageError } from '../command.ts';
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
  usage: '[-i] [-t] [--user USER[:GROUP]] [--sync] CONTAINER COMMAND [ARG...]',
  summary: 'Run a command in a container; exits with its code',
  flags: {
    ...streamFlags,
    sync: { type: 'boolean', short: 's', doc: 'Without streams: wait for the end, then show the output' },
    user: {
      type: 'string',
      short: 'u',
      value: 'USER[:GROUP]',
      doc: "As another user than the container's, by number or by a name in its root's /etc/passwd; for root on the node of a crisp daemon",
    },
    timeout: { type: 'string', value: 'SECONDS', doc: 'With -s: kill the command after this time; 0: never' },
  },
  arity: [2, Infinity],
  exits: COMMAND_EXITS,
  greedy: true,
  async run(ctl, parsed) {
    const [containerId = '', ...cmd] = parsed.args;
    const user = parsed.text('user');
    if (parsed.has('sync')) {
      if (user !== undefined)
        throw new UsageError('crisp ctl exec: --user and --sync cannot be combined', 'leave --sync out');
      return execSync(ctl, parsed, containerId, cmd);
    }
    const options = sessionOptions(parsed);
    const { url } =
      user === undefined
        ? await ctl.client.Exec({ containerId, cmd, ...streamsOf(options) }, ctl.call())
        : await execAs(ctl, containerId, { command: cmd, user, ...streamsOf(options) });
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

/** CRI has no user in Exec: the daemon's admin socket has. */
async function execAs(ctl: Ctl, containerId: string, request: ExecRequest): Promise<ExecReply> {
  const { status } = await ctl.client.ContainerStatus({ containerId }, ctl.call());
  const body = Readable.from([JSON.stringify(request)], { objectMode: false });
  const call = {
    method: 'POST',
    path: execPath(status?.id ?? ''),
    query: [],
    body,
    signal: ctl.signal,
    answerMs: ctl.call().timeoutMs,
  } as const;
  return (await receiveJson(ctl.adminSocket, call)) as ExecReply;
}

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
