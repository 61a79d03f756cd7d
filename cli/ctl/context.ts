/** The context of each command of `crisp ctl`, and the flags that several share. */
import type { CallSettings, CriClient } from '#api/cri/v1/client.ts';
import { parseDuration } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';
import { type Flag, type Parsed, UsageError } from '../command.ts';
import { renderDocument } from '../documents.ts';
import { exitCodes } from '../help.ts';
import { outputOf } from '../output.ts';
import { type Column, renderTable } from '../table.ts';

export interface Terminal {
  out(text: string | Uint8Array): void;
  err(text: string | Uint8Array): void;
  /** Whether the standard error is a terminal, so that a line can be redrawn. */
  readonly interactive: boolean;
  /** Size of that terminal, as it is now. */
  readonly size?: () => TerminalSize;
}

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** Of a terminal that does not know its own. */
export const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 };

export interface Ctl {
  readonly client: CriClient;
  /** Path of crisp's admin socket (api/admin): other runtimes have none. */
  readonly adminSocket: string;
  readonly terminal: Terminal;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** Timeout and cancellation of one call; `extraMs` is added to the timeout. */
  call(extraMs?: number): CallSettings;
  /** Nanoseconds since the epoch. */
  now(): bigint;
}

/** Of commands that use `forEachTarget`. */
export const TARGET_EXITS = exitCodes([['1', 'one or more of them failed; the others were processed']]);

/** Of commands that run one in a container and wait for it. */
export const COMMAND_EXITS = exitCodes([['other', 'the exit code of the command in the container']]);
/** Of commands that go on until they are interrupted. */
export const FOLLOWING_EXITS = exitCodes([['0', 'success, also when interrupted']]);

/** Of the commands that print lists. */
export const LIST_FORMATS = ['table', 'json', 'yaml'] as const;
/** Of the commands that print documents. */
export const DOCUMENT_FORMATS = ['json', 'yaml'] as const;

export const quietFlag: Record<string, Flag> = { quiet: { type: 'boolean', short: 'q', doc: 'Ids only' } };
export const noTruncFlag: Record<string, Flag> = { 'no-trunc': { type: 'boolean', doc: 'Ids in full' } };
export const labelFlag: Record<string, Flag> = {
  label: { type: 'string', multiple: true, value: 'KEY=VALUE', doc: 'Only those with this label' },
};

/** Labels of `--label KEY=VALUE` flags. */
export function labelsOf(parsed: Parsed, flag = 'label'): Record<string, string> {
  const pairs = parsed.all(flag).map((text): [string, string] => {
    const at = text.indexOf('=');
    if (at < 1) throw new UsageError(`--${flag} must be KEY=VALUE, not '${text}'`);
    return [text.slice(0, at), text.slice(at + 1)];
  });
  return Object.fromEntries(pairs);
}

/** Whole seconds from "10" or "10s"; `fallback` where the flag is absent. */
export function secondsOf(parsed: Parsed, flag: string, fallback: number): number {
  const text = parsed.text(flag);
  if (text === undefined) return fallback;
  const milliseconds = parseDuration(/^\d+$/.test(text) ? `${text}s` : text);
  if (milliseconds === undefined)
    throw new UsageError(`--${flag} must be seconds or a duration such as 2m, not '${text}'`);
  return Math.ceil(milliseconds / 1000);
}

/** The regular expression of a flag, as crictl filters names. */
export function patternOf(parsed: Parsed, flag: string): RegExp | undefined {
  const text = parsed.text(flag);
  try {
    return text === undefined ? undefined : new RegExp(text);
  } catch {
    throw new UsageError(`--${flag} must be a regular expression, not '${text}'`);
  }
}

/** Prints a list in the requested format. `quiet` prints one line for each item. */
export function printList<T>(
  ctl: Ctl,
  parsed: Parsed,
  list: {
    items: readonly T[];
    columns: readonly Column<T>[];
    quiet: (item: T) => string;
    document: () => unknown;
  },
): void {
  const format = outputOf(parsed, LIST_FORMATS);
  if (parsed.has('quiet')) ctl.terminal.out(list.items.map((item) => `${list.quiet(item)}\n`).join(''));
  else if (format === 'table') ctl.terminal.out(renderTable(list.columns, list.items));
  else ctl.terminal.out(renderDocument(list.document(), format));
}

/**
 * The object of an id or id prefix. CRI's stop and remove calls succeed for an unknown id,
 * but the user of a command expects an error. Throws NotFound, or UsageError where several match.
 */
export function pick<T extends { readonly id: string }>(objects: readonly T[], idOrPrefix: string): T {
  const [found, ...more] = objects.filter(({ id }) => id.startsWith(idOrPrefix));
  if (!found || idOrPrefix === '') throw new CrispError('NotFound', 'no object has this id');
  if (more.length > 0 && found.id !== idOrPrefix)
    throw new UsageError('the id prefix is ambiguous', 'give a longer prefix');
  return found;
}

/** Runs `act` for each target, continues after failures, and resolves to the exit code. */
export async function forEachTarget(
  ctl: Ctl,
  targets: readonly string[],
  act: (target: string) => Promise<string | undefined>,
): Promise<number> {
  let failed = false;
  for (const target of targets) {
    try {
      const text = await act(target);
      if (text !== undefined) ctl.terminal.out(`${text}\n`);
    } catch (error) {
      if (ctl.signal.aborted) throw error;
      failed = true;
      ctl.terminal.err(`crisp ctl: ${target}: ${error instanceof Error ? error.message : error}\n`);
    }
  }
  return failed ? 1 : 0;
}
