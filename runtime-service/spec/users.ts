/**
 * Who a container runs as: the request's user and groups, else the image's, looked up in the /etc/passwd and
 * /etc/group of the container's own root file system (never the host's).
 */
import { CrispError } from '#core/errors.ts';
import type { SecurityContext } from '../config.ts';
import type { ContainerUser } from '../container.ts';

export interface UserFiles {
  readonly passwd: string;
  readonly group: string;
}

export type UserRequest = Pick<
  SecurityContext,
  'runAsUser' | 'runAsGroup' | 'runAsUsername' | 'supplementalGroups' | 'supplementalGroupsPolicy'
>;

interface Account {
  readonly uid: number;
  readonly gid: number;
  readonly name: string | undefined;
  readonly home: string | undefined;
}

const MAX_ID = 4294967294;

/** The entries of a file that may hold millions of lines: one after another, so that none is kept. */
function* fields(file: string, atLeast: number): Generator<string[], undefined> {
  for (let at = 0; at < file.length; ) {
    const end = file.indexOf('\n', at);
    const parts = file
      .slice(at, end === -1 ? file.length : end)
      .trim()
      .split(':');
    if (parts.length >= atLeast) yield parts;
    if (end === -1) return;
    at = end + 1;
  }
}

const numeric = (text: string): number | undefined => {
  if (!/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
};

function account(user: string, files: UserFiles): Account {
  const id = numeric(user);
  for (const [name, , uid, gid, , home] of fields(files.passwd, 4)) {
    const found = uid === undefined ? undefined : numeric(uid);
    // A number is never treated as a name: an image with a user called `1000` and uid 0 would make root of it.
    if (found === undefined || (id === undefined ? name !== user : found !== id)) continue;
    return { uid: found, gid: numeric(gid ?? '') ?? 0, name, home: home || undefined };
  }
  // A number needs no entry (Docker's rule, which both peers follow); its group is then root's.
  if (id !== undefined) return { uid: id, gid: 0, name: undefined, home: undefined };
  throw new CrispError('InvalidArgument', `user ${JSON.stringify(user)} is not in the image's /etc/passwd`, {
    hint: 'use a numeric run_as_user, or an image that knows the user',
  });
}

function groupId(group: string, files: UserFiles): number {
  const id = numeric(group);
  if (id !== undefined) return id;
  const entry = fields(files.group, 3).find(([name]) => name === group);
  const found = entry?.[2] === undefined ? undefined : numeric(entry[2]);
  if (found !== undefined) return found;
  throw new CrispError('InvalidArgument', `group ${JSON.stringify(group)} is not in the image's /etc/group`, {
    hint: 'use a numeric group, or an image that knows it',
  });
}

function* memberships(name: string | undefined, files: UserFiles): Generator<number> {
  if (name === undefined) return;
  for (const [, , gid, members] of fields(files.group, 4)) {
    const id = members?.split(',').includes(name) ? numeric(gid ?? '') : undefined;
    if (id !== undefined) yield id;
  }
}

/**
 * Resolves user and groups. `imageUser` is the image's `User` (`user[:group]`), used where the request names no user.
 * Supplemental groups: the requested ones, with policy Merge also the user's in /etc/group, and always the primary.
 * Throws InvalidArgument for a name that the image does not know.
 */
export function resolveUser(
  security: UserRequest,
  imageUser: string,
  files: UserFiles,
): ContainerUser & { readonly home: string } {
  const [imageName = '', imageGroup = ''] = imageUser.split(':', 2);
  const requested = security.runAsUser?.toString() ?? security.runAsUsername;
  const named = requested === '' ? imageName || '0' : requested;
  const found = account(named, files);
  let gid = found.gid;
  if (security.runAsGroup !== undefined) gid = Number(security.runAsGroup);
  else if (requested === '' && imageGroup !== '') gid = groupId(imageGroup, files);
  const groups = new Set([gid, ...security.supplementalGroups.map(Number)]);
  if (security.supplementalGroupsPolicy === 'Merge') {
    for (const member of memberships(found.name, files)) groups.add(member);
  }
  return {
    uid: found.uid,
    gid,
    supplementalGroups: [...groups].sort((a, b) => a - b),
    home: found.home ?? (found.uid === 0 ? '/root' : '/'),
  };
}

/** Whether a file such as /etc/passwd has a user of this number. */
export const hasAccount = (uid: number, passwd: string): boolean =>
  fields(passwd, 4).some(([, , number]) => number !== undefined && numeric(number) === uid);

/** The line of /etc/passwd for a user whom the image does not know, named by its number (passwd(5)). */
export function passwdEntry({ uid, gid }: ContainerUser, home: string): string {
  const directory = /^\/[^:\n\r]*$/.test(home) ? home : '/';
  return `${uid}:x:${uid}:${gid}:${uid} user:${directory}:/sbin/nologin\n`;
}

/** Whether a file such as /etc/group has a group of this number. */
export const hasGroup = (gid: number, group: string): boolean =>
  fields(group, 3).some(([, , number]) => number !== undefined && numeric(number) === gid);

/** The line of /etc/group for a group that the image does not know, named by its number (group(5)). */
export const groupEntry = (gid: number): string => `${gid}:x:${gid}:\n`;
