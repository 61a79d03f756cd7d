import { writeFileSync } from 'node:fs';
import { CrispError, errnoOf } from '#core/errors.ts';
import { refused } from '../libc/errno.ts';
import type { NamespaceKind } from '../ports/kernel.ts';

/** Which namespace a key belongs to; undefined for keys of the whole machine (namespaces(7), ipc and net sysctls). */
export function namespaceOfSysctl(path: string): NamespaceKind | undefined {
  if (path.startsWith('net/')) return 'net';
  if (/^kernel\/(shm|msg)[a-z_]+$/.test(path) || path === 'kernel/sem' || path.startsWith('fs/mqueue/'))
    return 'ipc';
  if (path === 'kernel/hostname' || path === 'kernel/domainname') return 'uts';
  return undefined;
}

/**
 * The path below /proc/sys of a key. As in sysctl(8), the first separator decides: in `net.ipv4.conf.eth0/100.mtu` the
 * dots separate and a slash means a dot; in `net/ipv4/conf/eth0.100/mtu` the other way round.
 */
export function sysctlPath(key: string): string {
  const slashes = /^[^./]*\//.test(key);
  const path = slashes ? key : key.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.'));
  const parts = path.split('/');
  if (parts.length < 2 || parts.some((part) => !/^[a-zA-Z0-9_:@.-]+$/.test(part) || /^\.+$/.test(part))) {
    throw new CrispError('InvalidArgument', `sysctl ${JSON.stringify(key)} is not a key`, {
      hint: 'write it as sysctl(8) does, for example net.ipv4.ip_forward',
    });
  }
  return path;
}

/** Checks that every key belongs to a namespace that the pod has for itself: another would change the whole node. */
export function checkSysctls(
  sysctls: Readonly<Record<string, string>>,
  kinds: readonly NamespaceKind[],
): void {
  for (const key of Object.keys(sysctls)) {
    const kind = namespaceOfSysctl(sysctlPath(key));
    if (kind !== undefined && kinds.includes(kind)) continue;
    const reason =
      kind === undefined
        ? 'belongs to no namespace'
        : `belongs to the ${kind} namespace, which is the node's`;
    throw new CrispError('InvalidArgument', `sysctl ${key} ${reason}`, {
      hint: `set it on the node itself, or give the pod ${kind === undefined ? 'another key' : `its own ${kind} namespace`}`,
    });
  }
}

/** Sets the keys in the namespaces of the calling thread. Synchronous. `retry` tries again after EACCES. */
export function writeSysctls(
  sysctls: Readonly<Record<string, string>>,
  retry: (write: () => void) => void = (write) => write(),
): void {
  for (const [key, value] of Object.entries(sysctls)) {
    const write = () => writeFileSync(`/proc/sys/${sysctlPath(key)}`, value, { flag: 'r+' });
    try {
      try {
        write();
      } catch (error) {
        if (errnoOf(error) !== 'EACCES') throw error;
        retry(write);
      }
    } catch (error) {
      throw refusedSysctl(key, value, errnoOf(error) ?? String(error));
    }
  }
}

function refusedSysctl(key: string, value: string, errno: string): CrispError {
  const what = `set sysctl ${key} to ${JSON.stringify(value)}`;
  if (errno === 'EINVAL') {
    return new CrispError('InvalidArgument', `${what}: the kernel does not accept that value`, { errno });
  }
  if (errno === 'ENOENT') {
    return new CrispError('InvalidArgument', `${what}: this kernel has no such key`, {
      errno,
      hint: 'check the spelling; some keys need a kernel module',
    });
  }
  return refused(what, errno);
}
