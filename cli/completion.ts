/** `crisp completion`: the script of a shell, and the objects that such a script asks for. */
import { type Command, type Parsed, UsageError } from './command.ts';
import { bashScript } from './completion/bash.ts';
import { OBJECTS } from './completion/candidates.ts';
import { type CompletionEntry, completionEntries } from './completion/entries.ts';
import { fishScript } from './completion/fish.ts';
import { objectLines } from './completion/objects.ts';
import { zshScript } from './completion/zsh.ts';
import type { Terminal } from './ctl/context.ts';
import { socketPath } from './ctl.ts';
import { DEFAULT_ENDPOINT } from './ctl-flags.ts';

const SHELLS: Readonly<Record<string, (entries: readonly CompletionEntry[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/** The script of a shell for these commands. Throws UsageError for another shell. */
export async function completionScript(shell: string, commands: readonly Command<never>[]): Promise<string> {
  if (!Object.hasOwn(SHELLS, shell))
    throw new UsageError(`crisp completion: '${shell}' is not one of ${Object.keys(SHELLS).join(', ')}`);
  return SHELLS[shell]?.(await completionEntries(commands)) ?? '';
}

/** Runs the command; resolves to the exit code. */
export async function completion(
  parsed: Parsed,
  commands: readonly Command<never>[],
  { terminal, signal }: { readonly terminal: Pick<Terminal, 'out'>; readonly signal: AbortSignal },
): Promise<number> {
  const kind = OBJECTS.find((name) => name === parsed.text('list'));
  const [shell] = parsed.args;
  if ((kind === undefined) === (shell === undefined))
    throw new UsageError('crisp completion: name a shell (bash, zsh, fish), or --list without one');
  if (kind === undefined) {
    terminal.out(await completionScript(shell ?? '', commands));
    return 0;
  }
  const endpoint =
    parsed.text('runtime-endpoint') ?? (process.env['CONTAINER_RUNTIME_ENDPOINT'] || DEFAULT_ENDPOINT);
  terminal.out(await objectLines(kind, socketPath(endpoint), signal));
  return 0;
}
