import { CrispError } from '#core/errors.ts';
import { checkExecutableSync } from '#linux/fs/executable.ts';

/** Where the node's programs are searched; they see nothing of the daemon's environment but this. */
const DIRECTORIES = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

export const PROGRAM_ENV = { PATH: DIRECTORIES.join(':') };

/** The absolute path of a program given by path or name: conmon takes no names. Throws NotFound. */
export function findProgram(name: string): string {
  const candidates = name.startsWith('/') ? [name] : DIRECTORIES.map((directory) => `${directory}/${name}`);
  for (const path of candidates) {
    try {
      checkExecutableSync(path);
      return path;
    } catch {
      // The next directory.
    }
  }
  const where = name.startsWith('/')
    ? 'does not exist, or is not executable'
    : `is not in ${PROGRAM_ENV.PATH}`;
  throw new CrispError('NotFound', `program ${name} ${where}`, {
    hint: 'install it, or set its absolute path in the configuration',
  });
}
