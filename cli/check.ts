/** `crisp check`: whether this node can run crisp, and whether what is on its disk is what the records promise. */
import type { Config } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';
import { checkImages } from './check/images.ts';
import { checkNode } from './check/node.ts';
import { type Parsed, UsageError } from './command.ts';
import type { Terminal } from './ctl/context.ts';
import { outputOf, TEXT_OR_JSON } from './output.ts';

export interface CheckContext {
  readonly terminal: Terminal;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  readonly config: Config;
}

/** Runs the command; resolves to the exit code: 0 all is well (warnings are), 1 something is not. */
export async function check(parsed: Parsed, { terminal, signal, config }: CheckContext): Promise<number> {
  const output = outputOf(parsed, TEXT_OR_JSON);
  const images = parsed.has('images');
  if (parsed.has('repair') && !images)
    throw new UsageError('crisp check: --repair is for --images', 'run `crisp check --images --repair`');
  if (images) {
    return await checkImages(
      { socket: config.adminSocket, repair: parsed.has('repair'), output },
      terminal,
      signal,
    );
  }
  if (process.getuid?.() !== 0) {
    throw new CrispError(
      'PermissionDenied',
      'crisp check needs root: it mounts, and reads what only root may',
      {
        hint: 'run it with sudo, or as root',
      },
    );
  }
  return await checkNode(config, output, terminal, signal);
}
