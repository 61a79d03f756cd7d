/** A user and a group that the image does not know get names: getpwuid(3) of ssh, git or Java fails for a number without one. */
import type { Stats } from 'node:fs';
import type { PodView } from '#core/model/pod.ts';
import { appendInRoot } from '#linux/fs/in-root.ts';
import type { ContainerUser } from '../container.ts';
import { groupEntry, hasAccount, hasGroup, passwdEntry, type UserFiles } from '../spec/users.ts';

interface Identity {
  readonly user: ContainerUser;
  /** The container's, of which HOME is the user's directory. */
  readonly env: readonly string[];
  readonly pod: Pick<PodView, 'userNamespace'>;
}

/**
 * Adds a line to /etc/passwd and /etc/group of a root file system, whose texts are `files`, where these are regular files
 * without the user or the group. None where the user can write to the file: such an image adds an entry of its own at its start,
 * and the first one of a number counts. The root is mounted writable; the OCI runtime makes it read-only later.
 */
export function addUserEntries(rootfs: string, files: UserFiles, { user, env, pod }: Identity): void {
  const owner = hostId(pod, user.uid);
  const isWritable = ({ mode, uid }: Stats) =>
    (mode & 0o022) !== 0 || (uid === owner && (mode & 0o200) !== 0);
  const add = (path: string, text: string, entry: string) =>
    appendInRoot(rootfs, path, `${text === '' || text.endsWith('\n') ? '' : '\n'}${entry}`, isWritable);
  // Root without an entry is the image's own choice.
  if (user.uid !== 0 && !hasAccount(user.uid, files.passwd)) {
    const home = env.find((one) => one.startsWith('HOME='))?.slice('HOME='.length) ?? '/';
    add('etc/passwd', files.passwd, passwdEntry(user, home));
  }
  if (user.gid !== 0 && !hasGroup(user.gid, files.group)) add('etc/group', files.group, groupEntry(user.gid));
}

/** The number of a user of the pod on the node; undefined where it has none. */
function hostId({ userNamespace }: Identity['pod'], uid: number): number | undefined {
  if (!userNamespace) return uid;
  const range = userNamespace.uids.find(
    ({ containerId, length }) => uid >= containerId && uid < containerId + length,
  );
  return range && range.hostId + uid - range.containerId;
}
