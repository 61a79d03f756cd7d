/** `crisp reload`: the daemon reads its configuration again. */
import { type ChangedOption, RELOAD_PATH, type ReloadReply } from '#api/admin/contract.ts';
import { fallbackAt } from '#config/index.ts';
import { hasCode } from '#core/errors.ts';
import { receiveJson } from './admin-client.ts';
import type { Parsed } from './command.ts';
import type { Terminal } from './ctl/context.ts';
import { printable } from './format.ts';
import { jsonText, outputOf, TEXT_OR_JSON } from './output.ts';

export interface ReloadContext {
  readonly terminal: Pick<Terminal, 'out'>;
  readonly signal: AbortSignal;
  /** The admin socket of the configuration. Throws InvalidArgument where that is wrong. */
  readonly socket: () => Promise<string>;
  /** Shorter in tests. */
  readonly answerMs?: number;
}

/** Programs are executed for their features, and listeners closed and opened; another reload may run before. */
const RELOAD_MS = 120_000;

/** Where the daemon listens unless it is configured otherwise. */
const USUAL = String(fallbackAt(['admin_socket'])).replace('{state}', String(fallbackAt(['state'])));

/**
 * Resolves to 0 when the configuration is in effect. Throws the reason, with `file:line`, where it is refused, and Unavailable
 * where no daemon answers, DeadlineExceeded where it hangs: it reads its configuration when it goes on.
 */
export async function reload(
  parsed: Parsed,
  { terminal, signal, socket, answerMs = RELOAD_MS }: ReloadContext,
): Promise<number> {
  const ask = (path: string) =>
    receiveJson(path, {
      method: 'POST',
      path: RELOAD_PATH,
      query: [],
      signal,
      answerMs,
    }) as Promise<ReloadReply>;
  let reply: ReloadReply;
  try {
    reply = await ask(parsed.text('admin-socket') ?? (await socket()));
  } catch (error) {
    // A wrong configuration names no socket, a changed one perhaps that of the next start: the daemon is to report it, too.
    const may = hasCode(error, 'InvalidArgument') || hasCode(error, 'Unavailable');
    if (!may || parsed.has('admin-socket') || parsed.has('config')) throw error;
    reply = await ask(USUAL).catch((second) => {
      throw hasCode(second, 'Unavailable') ? error : second;
    });
  }
  terminal.out(outputOf(parsed, TEXT_OR_JSON) === 'json' ? jsonText(reply) : replyText(reply));
  return 0;
}

const list = (options: readonly ChangedOption[]): string =>
  options.map(({ key, origin }) => `${key} (${origin ?? 'not set any more'})`).join(', ');

export function replyText({ applied, restartNeeded }: ReloadReply): string {
  const lines = [
    applied.length > 0 ? `reloaded: ${list(applied)}` : 'reloaded: no reloadable option has changed',
    ...(restartNeeded.length > 0 ? [`restart needed for: ${list(restartNeeded)}`] : []),
  ];
  return lines.map((line) => `${printable(line)}\n`).join('');
}
