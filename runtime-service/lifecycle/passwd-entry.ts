/** A user whom the image does not know gets a name: getpwuid(3) of ssh, git or Java fails for a number without one. */
import { appendInRoot } from '#linux/fs/in-root.ts';
import type { ContainerUser } from '../container.ts';
import { hasAccount, passwdEntry } from '../spec/users.ts';

/**
 * Adds a line to /etc/passwd of a root file system, whose text is `passwd`, where that is a regular file without this user;
 * makes none.
 * `env` is the container's, of which HOME is the user's directory.
 */
export function addPasswdEntry(
  rootfs: string,
  passwd: string,
  user: ContainerUser,
  env: readonly string[],
): void {
  // Root without an entry is the image's own choice.
  if (user.uid === 0 || hasAccount(user.uid, passwd)) return;
  const home = env.find((entry) => entry.startsWith('HOME='))?.slice('HOME='.length) ?? '/';
  const unfinished = passwd !== '' && !passwd.endsWith('\n');
  appendInRoot(rootfs, 'etc/passwd', `${unfinished ? '\n' : ''}${passwdEntry(user, home)}`);
}
