/** The built-in profile, judged against the kernel's rules and against Debian's profile where that is installed. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { selectRules } from './seccomp.ts';
import { builtinProfile } from './seccomp-default.ts';
import type { SeccompProfile } from './seccomp-profile.ts';

const HOST = { arch: 'x64', kernel: '6.1.0-13-amd64' };
const DEBIAN = '/usr/share/containers/seccomp.json';
const words = (text: string): string[] => text.trim().split(/\s+/).sort();

const rules = (capabilities: readonly string[], profile = builtinProfile, arch = 'x64') =>
  selectRules(profile, capabilities, { ...HOST, arch }).syscalls ?? [];

/** The calls allowed whatever their arguments are. */
const allowed = (capabilities: readonly string[], profile?: SeccompProfile, arch?: string): Set<string> =>
  new Set(
    rules(capabilities, profile, arch).flatMap(({ names, action, args }) =>
      action === 'SCMP_ACT_ALLOW' && !args ? names : [],
    ),
  );

/** Calls answered with EPERM. */
const refused = (capabilities: readonly string[]): Set<string> =>
  new Set(rules(capabilities).flatMap(({ names, errnoRet }) => (errnoRet === 1 ? names : [])));

const CAPABILITY_SETS: readonly (readonly string[])[] = [
  [],
  ['CAP_SYS_ADMIN'],
  ['CAP_BPF'],
  ['CAP_PERFMON', 'CAP_SYSLOG', 'CAP_SYS_ADMIN'],
  ['CAP_SYS_PTRACE', 'CAP_SYS_NICE', 'CAP_SYS_TIME', 'CAP_SYS_CHROOT', 'CAP_SYS_BOOT'],
];

test('what is not listed looks absent', () => {
  const filter = selectRules(builtinProfile, [], HOST);
  assert.deepEqual([filter.defaultAction, filter.defaultErrnoRet], ['SCMP_ACT_ERRNO', 38]);
  assert.deepEqual(filter.architectures, ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32']);
});

test('no call is both allowed and refused, none is named twice, no rule repeats the default', () => {
  for (const capabilities of CAPABILITY_SETS) {
    const all = rules(capabilities);
    const plain = all.flatMap(({ names, args }) => (args ? [] : names));
    const twice = plain.filter((name, index) => plain.indexOf(name) !== index);
    const known = new Set([
      'ptrace',
      'process_vm_readv',
      'process_vm_writev',
      'bpf',
      'perf_event_open',
      'syslog',
    ]);
    assert.deepEqual(
      twice.filter((name) => !known.has(name)),
      [],
    );
    const both = [...allowed(capabilities)].filter((name) => refused(capabilities).has(name));
    assert.deepEqual(both, []);
    // libseccomp refuses a rule whose action is the filter's default.
    assert.ok(all.every(({ action, errnoRet }) => action === 'SCMP_ACT_ALLOW' || errnoRet === 1));
    assert.ok(all.every(({ names }) => names.every((name) => /^[a-z_][a-z0-9_]*$/.test(name))));
  }
});

test('without capabilities nothing that makes namespaces, mounts, modules, keys or rings is allowed', () => {
  const free = allowed([]);
  const dangerous = words(`
    add_key bpf chroot clone clone3 create_module delete_module fanotify_init finit_module fsconfig fsmount fsopen
    fspick init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl
    lookup_dcookie mount mount_setattr move_mount move_pages nfsservctl open_by_handle_at open_tree perf_event_open
    personality pidfd_getfd pivot_root quotactl reboot request_key setdomainname sethostname setns settimeofday socket
    swapoff swapon syslog umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old`);
  assert.deepEqual(
    dangerous.filter((name) => free.has(name)),
    [],
  );
  const answered = refused([]);
  assert.ok(
    words('mount unshare setns chroot reboot keyctl bpf settimeofday').every((name) => answered.has(name)),
  );
});

test('a capability unlocks its calls and no others', () => {
  const gained = (capability: string) =>
    [...allowed([capability])].filter((name) => !allowed([]).has(name)).sort();
  assert.deepEqual(gained('CAP_SYS_CHROOT'), ['chroot']);
  assert.deepEqual(gained('CAP_BPF'), ['bpf']);
  assert.deepEqual(gained('CAP_SYSLOG'), ['syslog']);
  assert.deepEqual(gained('CAP_SYS_TIME'), words('clock_settime clock_settime64 settimeofday stime'));
  assert.deepEqual(gained('CAP_NET_ADMIN'), []);
  const admin = gained('CAP_SYS_ADMIN');
  assert.ok(
    words('bpf clone clone3 mount pivot_root setns umount2 unshare').every((name) => admin.includes(name)),
  );
  for (const name of words('keyctl add_key request_key kexec_load'))
    assert.ok(refused(['CAP_SYS_ADMIN']).has(name));
});

test('clone makes processes and no namespaces, unless the container is its own admin', () => {
  const clones = (capabilities: readonly string[]) =>
    rules(capabilities).filter(({ names }) => names.includes('clone'));
  const [clone, ...others] = clones([]);
  assert.deepEqual(others, []);
  assert.equal(clone?.action, 'SCMP_ACT_ALLOW');
  // The seven CLONE_NEW* that clone takes: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
  const flags = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000];
  const mask = flags.reduce((sum, flag) => sum + flag, 0);
  assert.deepEqual(clone?.args, [{ index: 0, value: mask, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }]);
  assert.deepEqual(
    clones(['CAP_SYS_ADMIN']).map(({ args }) => args),
    [undefined],
  );
});

test('sockets of all families but vsock, personalities but those without ASLR', () => {
  const argsOf = (call: string) =>
    rules([]).flatMap(({ names, args }) => (names.includes(call) ? [args] : []));
  assert.deepEqual(argsOf('socket'), [[{ index: 0, value: 40, op: 'SCMP_CMP_NE' }]]);
  const values = argsOf('personality').flatMap((args) => args?.map(({ value }) => Number(value)) ?? []);
  assert.deepEqual(values, [0x0, 0x8, 0x20000, 0x20008, 0xffffffff]);
  const ADDR_NO_RANDOMIZE = 0x40000;
  assert.ok(values.every((value) => value === 0xffffffff || (value & ADDR_NO_RANDOMIZE) === 0));
});

test('calls of 32-bit ARM are there on arm64 alone', () => {
  assert.ok(allowed([], builtinProfile, 'arm64').has('set_tls'));
  assert.ok(!allowed([], builtinProfile, 'x64').has('set_tls'));
  assert.deepEqual(selectRules(builtinProfile, [], { ...HOST, arch: 'arm64' }).architectures, [
    'SCMP_ARCH_AARCH64',
    'SCMP_ARCH_ARM',
  ]);
});

/**
 * Calls that Debian's profile lacks. Newer forms of allowed calls (…xattrat, fchmodat2, futex_…, io_pgetevents,
 * file_…attr as the ioctl, cachestat as mincore), calls on the caller's own memory (vmsplice, mseal, map_shadow_stack),
 * process_madvise, which the kernel guards by ptrace access and CAP_SYS_NICE, and the probes' trampolines, which only
 * the kernel's own code may use.
 */
const OURS_ONLY = words(`
  cachestat fchmodat2 file_getattr file_setattr futex_requeue futex_wait futex_waitv futex_wake getxattrat
  io_pgetevents io_pgetevents_time64 listxattrat map_shadow_stack mseal process_madvise removexattrat setxattrat uprobe
  uretprobe vmsplice`);

/**
 * Calls that only Debian's profile gives to everybody: it lets containers make user namespaces of their own, has the key
 * rings, NUMA policies (which reach beyond the container), pidfd_getfd, reboot and the kernel's log. `syscall` and
 * `timerfd` are names of no call that x86 or arm64 has.
 */
const DEBIAN_ONLY = words(`
  clone clone3 fsconfig fsmount fsopen fspick get_mempolicy keyctl mbind mount mount_setattr move_mount open_tree
  pidfd_getfd pivot_root reboot set_mempolicy setns syscall syslog timerfd umount umount2 unshare`);

const skip = existsSync(DEBIAN) ? false : `${DEBIAN} is not installed`;

test('the differences to Debian’s profile are the judged ones', { skip }, () => {
  const debian = allowed([], JSON.parse(readFileSync(DEBIAN, 'utf8')) as SeccompProfile);
  const ours = allowed([]);
  assert.ok(debian.size > 300, 'the profile was understood');
  // Debian's may grow with a later package: only what is beyond the judged lists is a finding.
  assert.deepEqual(
    [...ours].filter((name) => !debian.has(name) && !OURS_ONLY.includes(name)),
    [],
  );
  assert.deepEqual(
    DEBIAN_ONLY.filter((name) => ours.has(name)),
    [],
  );
  const missing = [...debian].filter((name) => !ours.has(name) && !DEBIAN_ONLY.includes(name));
  assert.deepEqual(missing, []);
});
