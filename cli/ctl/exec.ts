/** `crisp ctl exec -s`: a command in a running container, without streams. */
import { cri } from '#api/cri/v1/index.ts';
import { type Command, UsageError } from '../command.ts';
import { type Ctl, secondsOf } from './context.ts';

export const exec: Command<Ctl> = {
  name: 'exec',
  usage: '--sync CONTAINER COMMAND [ARG...]',
  summary: 'Run a command in a container; exits with its code',
  flags: {
    sync: { type: 'boolean', short: 's', doc: 'Wait for the end, then show the output' },
    timeout: { type: 'string', value: 'SECONDS', doc: 'Kill the command after this time; 0: never' },
  },
  arity: [2, Infinity],
  greedy: true,
  async run(ctl, parsed) {
    if (!parsed.has('sync')) {
      throw new UsageError(
        'crisp ctl exec: streams are not built yet',
        'use --sync, which shows the output at the end',
      );
    }
    const [containerId, ...cmd] = parsed.args;
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
  },
};
