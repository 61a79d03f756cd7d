/** The commands with those below them in one list, for documents and completions. */
import type { Command } from './command.ts';

export interface CommandEntry {
  /** `ctl ps`. */
  readonly name: string;
  readonly command: Command<never>;
  /** The commands below it, where it only dispatches. */
  readonly below: readonly Command<never>[];
}

/** Each command, and behind one that dispatches those below it. */
export async function commandTree(commands: readonly Command<never>[]): Promise<readonly CommandEntry[]> {
  const entries = commands.map(async (command): Promise<CommandEntry[]> => {
    const below = (await command.commands?.()) ?? [];
    return [
      { name: command.name, command, below },
      ...below.map((one) => ({ name: `${command.name} ${one.name}`, command: one, below: [] })),
    ];
  });
  return (await Promise.all(entries)).flat();
}
