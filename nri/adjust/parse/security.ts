/** What a plugin wants of the container's isolation. */
import type { nri } from '#api/nri/index.ts';
import type { AdjustedSeccomp } from '#core/model/adjustment.ts';
import type { Change } from '../fields.ts';
import { entryChanges, singleChange } from './entries.ts';
import { quoted, type Reader } from './reader.ts';

/** By their names in the OCI runtime specification. */
const NAMESPACES = ['cgroup', 'ipc', 'mount', 'network', 'pid', 'time', 'user', 'uts'];

export function namespaceChanges(reader: Reader, sent: readonly nri.LinuxNamespace[]): Change[] {
  const changes = entryChanges(
    reader,
    {
      field: 'namespaces',
      name: (type) => reader.oneOf('namespaces', type, NAMESPACES),
      value: ({ path }, type) => ({ path: path === '' ? '' : reader.path(`namespaces ${type}`, path) }),
    },
    sent.map((one) => ({ name: one.type, value: one })),
  );
  if (changes.some(({ entry, value }) => entry === 'mount' && value === undefined))
    reader.refuse('namespaces mount', 'a container has a mount namespace of its own', 'do not remove it');
  return changes;
}

/** A directory or file below /proc/sys, with a slash for each dot. */
const SYSCTL_PART = /^(?!\/+$)[A-Za-z0-9_:@/-]+$/;

export const sysctlChanges = (reader: Reader, sent: Readonly<Record<string, string>>): Change[] =>
  entryChanges(
    reader,
    {
      field: 'sysctl',
      name: (name) => sysctlName(reader, name),
      value: (value, name) => reader.matching(`sysctl ${name}`, value, /^[^\n]*$/, 'send one line', 4096),
    },
    reader.entries('sysctl', sent).map(([name, value]) => ({ name, value })),
  );

/**
 * In the dotted form, of both that sysctl(8) knows: the first separator decides which it is, and the other one is then a
 * character of a part, such as the dot in the name of an interface.
 */
function sysctlName(reader: Reader, name: string): string {
  reader.text('sysctl', name, 256);
  const slashes = /[./]/.exec(name)?.[0] === '/';
  const dotted = slashes ? name.replace(/[./]/g, (character) => (character === '/' ? '.' : '/')) : name;
  const parts = dotted.split('.');
  if (parts.length < 2 || !parts.every((part) => SYSCTL_PART.test(part)))
    reader.refuse('sysctl', `${quoted(name)} is no name`, 'write it as net.ipv4.ip_forward');
  return dotted;
}

/** Of the OCI runtime specification. */
const ACTIONS = [
  'KILL',
  'KILL_PROCESS',
  'KILL_THREAD',
  'TRAP',
  'ERRNO',
  'TRACE',
  'ALLOW',
  'LOG',
  'NOTIFY',
].map((name) => `SCMP_ACT_${name}`);
const OPERATORS = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'].map((name) => `SCMP_CMP_${name}`);
const FLAGS = ['TSYNC', 'LOG', 'SPEC_ALLOW', 'WAIT_KILLABLE_RECV'].map(
  (name) => `SECCOMP_FILTER_FLAG_${name}`,
);
const ARCHITECTURE = /^SCMP_ARCH_[A-Z0-9_]+$/;
const SYSCALL = /^[a-zA-Z0-9_]+$/;
/** MAX_ERRNO of err.h, which is what a filter can return (seccomp(2)). */
const MAX_ERRNO = 4095;
/** Arguments of a system call. */
const MAX_ARGUMENTS = 6;
const MAX_UINT64 = 2n ** 64n - 1n;

export const seccompChanges = (reader: Reader, sent: nri.LinuxSeccomp | undefined): Change[] =>
  singleChange('seccompPolicy', sent && filter(reader, sent));

function filter(reader: Reader, sent: nri.LinuxSeccomp): AdjustedSeccomp {
  const field = 'seccompPolicy';
  const { defaultErrno, listenerPath, listenerMetadata } = sent;
  return {
    defaultAction: reader.oneOf(`${field} default_action`, sent.defaultAction, ACTIONS),
    ...(defaultErrno ? { defaultErrnoRet: errno(reader, `${field} default_errno`, defaultErrno.value) } : {}),
    architectures: reader
      .list(`${field} architectures`, sent.architectures, 64)
      .map((name) =>
        reader.matching(
          `${field} architectures`,
          name,
          ARCHITECTURE,
          'send names such as SCMP_ARCH_X86_64',
          64,
        ),
      ),
    flags: reader
      .list(`${field} flags`, sent.flags, FLAGS.length)
      .map((flag) => reader.oneOf(`${field} flags`, flag, FLAGS)),
    ...(listenerPath === '' ? {} : { listenerPath: reader.path(`${field} listener_path`, listenerPath) }),
    ...(listenerMetadata === ''
      ? {}
      : { listenerMetadata: reader.text(`${field} listener_metadata`, listenerMetadata) }),
    syscalls: reader.list(`${field} syscalls`, sent.syscalls).map((rule) => syscallRule(reader, rule)),
  };
}

function syscallRule(reader: Reader, sent: nri.LinuxSyscall): AdjustedSeccomp['syscalls'][number] {
  const field = 'seccompPolicy syscalls';
  if (sent.names.length === 0) reader.refuse(field, 'a rule names no system call', 'name at least one');
  return {
    names: reader
      .list(field, sent.names)
      .map((name) => reader.matching(field, name, SYSCALL, 'send names of system calls', 64)),
    action: reader.oneOf(`${field} action`, sent.action, ACTIONS),
    ...(sent.errnoRet ? { errnoRet: errno(reader, `${field} errno_ret`, sent.errnoRet.value) } : {}),
    args: reader
      .list(`${field} args`, sent.args, 2 * MAX_ARGUMENTS)
      .map(({ index, value, valueTwo, op }) => ({
        index: reader.number(`${field} args index`, index, 0, MAX_ARGUMENTS - 1),
        value: reader.integer(`${field} args value`, value, 0n, MAX_UINT64),
        valueTwo: reader.integer(`${field} args value_two`, valueTwo, 0n, MAX_UINT64),
        op: reader.oneOf(`${field} args op`, op, OPERATORS),
      })),
  };
}

const errno = (reader: Reader, field: string, value: number): number =>
  reader.number(field, value, 0, MAX_ERRNO);
