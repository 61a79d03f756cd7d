import { join } from 'node:path';
import { isExecutable } from '#linux/fs/executable.ts';

/** The program of a plugin, in the first of the directories that has it as an executable; undefined where none has. */
export async function pluginPath(binDirs: readonly string[], type: string): Promise<string | undefined> {
  for (const directory of binDirs) {
    const path = join(directory, type);
    if (await isExecutable(path)) return path;
  }
  return undefined;
}
