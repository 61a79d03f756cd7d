/**
 * Sysctls of a pod: only those that the kernel keeps per namespace, and only where the pod has that namespace for
 * itself; any other would change the node.
 */
import { CrispError } from '#core/errors.ts';
import type { IdMapping } from '#core/model/security.ts';
import type { NamespaceOptions } from '../config.ts';

/** Names are accepted in both forms, `net.ipv4.ip_forward` and `net/ipv4/ip_forward`; this gives the dotted one. */
export function dottedName(name: string): string {
  const separator = /[./]/.exec(name)?.[0];
  if (separator !== '/') return name;
  // In the slash form a dot is part of a name, such as an interface's; in the dotted form a slash replaces it.
  return name.replace(/[./]/g, (character) => (character === '/' ? '.' : '/'));
}

/** A fresh record of the sysctls in dotted form. */
export const dottedSysctls = (sysctls: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(sysctls).map(([name, value]) => [dottedName(name), value]));

/** The defaults that a pod with these namespaces can have; those of a namespace that is the node's are left out. */
export const applicableSysctls = (
  defaults: Readonly<Record<string, string>>,
  namespaces: NamespaceOptions,
): Record<string, string> =>
  Object.fromEntries(
    Object.entries(dottedSysctls(defaults)).filter(([name]) => {
      const scope = scopeOf(name);
      return scope !== undefined && namespaces[scope] !== 'node';
    }),
  );

/** Whose groups may open ping sockets (icmp(7)): the kernel takes the ids of the user namespace of who writes them. */
const PING_GROUPS = 'net.ipv4.ping_group_range';

/**
 * Sysctls, in dotted form, as they are written from the node's user namespace, for a pod with these group ids: it means its own
 * ones. A range of groups ends at the last one that is mapped with its first; one that begins elsewhere is for nobody.
 */
export function nodeSysctls(
  sysctls: Readonly<Record<string, string>>,
  gids: readonly IdMapping[],
): Record<string, string> {
  const range = sysctls[PING_GROUPS];
  return range === undefined ? sysctls : { ...sysctls, [PING_GROUPS]: nodeGroups(range, gids) };
}

function nodeGroups(range: string, gids: readonly IdMapping[]): string {
  const [first = 0, last = first] = range.trim().split(/\s+/).map(Number);
  const mapping = gids.find(
    ({ containerId, length }) => first >= containerId && first < containerId + length,
  );
  if (!mapping || first > last) return '1 0'; // the kernel's own default
  const { containerId, hostId, length } = mapping;
  return [first, Math.min(last, containerId + length - 1)].map((gid) => hostId + gid - containerId).join(' ');
}

/** Throws InvalidArgument with the name and the reason. `shown`: what a message calls the sysctl of this name. */
export function checkSysctls(
  sysctls: Readonly<Record<string, string>>,
  namespaces: NamespaceOptions,
  shown = (name: string): string => `linux.sysctls ${JSON.stringify(name)}`,
): void {
  const refused = (name: string, reason: string, hint: string): CrispError =>
    new CrispError('InvalidArgument', `${shown(name)} ${reason}`, { hint });
  for (const [name, value] of Object.entries(sysctls)) {
    const dotted = dottedName(name);
    if (!wellFormed(dotted)) {
      throw refused(name, 'is not a valid sysctl name', 'give a name such as net.core.somaxconn');
    }
    if (/[\0\n]/.test(value) || value.length > 4096) {
      throw refused(name, 'has a value of several lines or more than 4096 characters', 'give one line');
    }
    const scope = scopeOf(dotted);
    if (scope === undefined) {
      throw refused(
        name,
        "is not kept per namespace and would change the node's",
        'set it on the node itself',
      );
    }
    if (namespaces[scope] === 'node') {
      throw refused(name, `belongs to the ${scope} namespace, which is the node's here`, `give ${scope} POD`);
    }
  }
}

/** Parts of letters, digits, `_`, `-`, and a slash in the place of a dot; never empty, never `..` as a path. */
const wellFormed = (dotted: string): boolean =>
  dotted.length <= 255 &&
  dotted.includes('.') &&
  dotted
    .split('.')
    .every(
      (part) => /^[A-Za-z0-9_-][A-Za-z0-9_@/-]*$/.test(part) && !part.endsWith('/') && !part.includes('//'),
    );

const IPC = [
  'kernel.sem',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
];

/** Which namespace keeps it (ipc_sysctls and mq_sysctls of the kernel's ipc/, and net/ as a whole). */
function scopeOf(dotted: string): 'network' | 'ipc' | undefined {
  if (dotted.startsWith('net.')) return 'network';
  return IPC.includes(dotted) || dotted.startsWith('fs.mqueue.') ? 'ipc' : undefined;
}
