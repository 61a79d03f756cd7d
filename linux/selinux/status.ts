/** SELinux as the kernel and the installed policy have it. */
import { closeSync, openSync, readFileSync, readSync, statfsSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { CrispError, errnoOf } from '#core/errors.ts';
import { fromNode } from '../libc/errno.ts';
import type { SelinuxStatus } from '../ports/selinux.ts';

const SELINUXFS = '/sys/fs/selinux';
/** statfs(2) of selinuxfs (linux/magic.h). */
const SELINUX_MAGIC = 0xf97cff8c;
/** What attr/current has until a policy is loaded. */
const NO_POLICY = 'kernel';
const CONFIG = '/etc/selinux/config';
/** Of the package of container policies, before the policy's own. */
const SHARED_CONTEXTS = '/usr/share/containers/selinux/contexts';
const CONTEXT_LIMIT = 4096;

const trimmed = (text: string): string => text.replace(/[\0\n]+$/, '');

/** See `Selinux.status`. */
export function selinuxStatus(): SelinuxStatus | undefined {
  try {
    if (statfsSync(SELINUXFS).type !== SELINUX_MAGIC) return undefined;
    const own = trimmed(readFileSync('/proc/self/attr/current', 'utf8'));
    if (own === NO_POLICY || own === '') return undefined;
    return { enforcing: readFileSync(`${SELINUXFS}/enforce`, 'utf8').trim() === '1', own };
  } catch {
    return undefined;
  }
}

/** See `Selinux.canonical`. selinuxfs answers a write on the same descriptor. */
export function canonicalContext(context: string): string {
  let fd: number | undefined;
  try {
    fd = openSync(`${SELINUXFS}/context`, 'r+');
    writeSync(fd, context);
    const reply = Buffer.alloc(CONTEXT_LIMIT);
    return trimmed(reply.toString('utf8', 0, readSync(fd, reply, 0, reply.length, 0)));
  } catch (error) {
    // A daemon that may not ask has its contexts checked at their use.
    if (errnoOf(error) === 'EACCES' || errnoOf(error) === 'EPERM') return context;
    if (errnoOf(error) !== 'EINVAL') throw fromNode(error, `check the SELinux context ${context}`);
    throw new CrispError('InvalidArgument', `the SELinux policy of this node has no context ${context}`, {
      errno: 'EINVAL',
      hint: 'correct seLinuxOptions, or load a policy that has the user, role, type and level (seinfo lists them)',
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** See `Selinux.containerContexts`. */
export async function containerContexts(): Promise<ReadonlyMap<string, string>> {
  const shared = await optionalText(SHARED_CONTEXTS);
  if (shared !== undefined) return parseContexts(shared);
  const policy = settings((await optionalText(CONFIG)) ?? '').get('SELINUXTYPE') ?? '';
  if (policy === '' || policy.includes('/')) return new Map();
  return parseContexts((await optionalText(`/etc/selinux/${policy}/contexts/lxc_contexts`)) ?? '');
}

async function optionalText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw fromNode(error, `read ${path}`);
  }
}

/** Lines of `key = "value"`; those that begin with `#` or `;` are comments. */
function settings(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, key = '', value = ''] = /^\s*([^#;=\s][^=]*?)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (key !== '') found.set(key, value.replace(/^"|"$/g, ''));
  }
  return found;
}

/** The text of lxc_contexts. */
export const parseContexts = (text: string): ReadonlyMap<string, string> =>
  new Map([...settings(text)].filter(([, value]) => value !== ''));
