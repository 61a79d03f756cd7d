/**
 * The built-in RuntimeDefault profile: calls that programs need and that stay within the container, by topic; then
 * those that a capability unlocks; then those allowed for some arguments only. What is not listed answers ENOSYS, so
 * that programs fall back; what the kernel itself would refuse for want of a capability answers EPERM as it does.
 * Names are the kernel's (syscalls(2)); those that an architecture or libseccomp lacks are ignored by the OCI runtimes.
 */
import type { SeccompProfile } from './seccomp-profile.ts';

const words = (text: string): string[] => text.trim().split(/\s+/);

const FILES = words(`
  access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
  fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
  flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64
  futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
  inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr _llseek lremovexattr
  lseek lsetxattr lstat lstat64 memfd_create mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat
  openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv
  removexattr removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64
  statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat
  utime utimensat utimensat_time64 utimes vmsplice write writev cachestat file_getattr file_setattr`);

const PROCESSES = words(`
  capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu getegid getegid32 geteuid
  geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32
  getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set kill landlock_add_rule
  landlock_create_ruleset landlock_restrict_self membarrier pidfd_open pidfd_send_signal prctl prlimit64
  process_mrelease rseq sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
  sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
  sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address setfsgid
  setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32
  setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 sysinfo tgkill
  times tkill ugetrlimit uname uprobe uretprobe vfork wait4 waitid waitpid arch_prctl modify_ldt`);

const MEMORY = words(`
  brk madvise map_shadow_stack memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal msync
  munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise remap_file_pages`);

const WAITING = words(`
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
  eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake io_cancel io_destroy io_getevents
  io_pgetevents io_pgetevents_time64 io_setup io_submit nanosleep clock_nanosleep clock_nanosleep_time64 pause poll
  ppoll ppoll_time64 pselect6 pselect6_time64 restart_syscall select _newselect rt_sigaction rt_sigpending
  rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
  rt_tgsigqueueinfo sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend alarm getitimer setitimer
  timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
  timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64`);

const CLOCKS = words(
  'adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 ' +
    'gettimeofday time getrandom',
);

const SOCKETS = words(`
  accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
  send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair`);

const SYSTEM_V = words(`
  ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
  mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget`);

/** Parts of the 32-bit ARM interface, which the kernel of arm64 serves too. */
const ARM = words('arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2');

/** Calls that the kernel answers with EPERM unless one of the capabilities is held; so does the filter. */
const REFUSED_WITHOUT: readonly (readonly [capabilities: string, calls: string])[] = [
  [
    'CAP_SYS_ADMIN',
    `fanotify_init lookup_dcookie mount pivot_root quotactl setdomainname sethostname setns umount umount2 unshare`,
  ],
  ['CAP_SYS_ADMIN CAP_BPF', 'bpf'],
  ['CAP_SYS_ADMIN CAP_PERFMON', 'perf_event_open'],
  ['CAP_SYS_ADMIN CAP_SYSLOG', 'syslog'],
  ['CAP_DAC_READ_SEARCH', 'open_by_handle_at'],
  ['CAP_SYS_BOOT', 'reboot'],
  ['CAP_SYS_CHROOT', 'chroot'],
  ['CAP_SYS_MODULE', 'delete_module init_module finit_module'],
  ['CAP_SYS_PACCT', 'acct'],
  ['CAP_SYS_RAWIO', 'iopl ioperm'],
  ['CAP_SYS_TIME', 'settimeofday stime clock_settime clock_settime64'],
  ['CAP_SYS_TTY_CONFIG', 'vhangup'],
];

/** Calls that look absent without the capability: programs fall back to older ones, or do without. */
const ABSENT_WITHOUT: readonly (readonly [capability: string, calls: string])[] = [
  [
    'CAP_SYS_ADMIN',
    `clone clone3 fsconfig fsmount fsopen fspick mount_setattr move_mount open_tree open_tree_attr quotactl_fd statmount
     listmount`,
  ],
  ['CAP_SYS_PTRACE', 'kcmp pidfd_getfd'],
  ['CAP_SYS_NICE', 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node'],
];

/** Key rings belong to no namespace, and a new kernel to no container: refused whatever is held. */
const NEVER = words('add_key keyctl request_key kexec_load kexec_file_load');

/** CLONE_NEW* of namespaces.h: mount, cgroup, uts, ipc, user, pid, net. */
const CLONE_NAMESPACES = 0x7e020000;
const AF_VSOCK = 40;
const ENOSYS = 38;
const EPERM = 1;

/** personality(2): plain, PER_LINUX32, UNAME26, both, and the question what it is; none that turns off ASLR. */
const PERSONALITIES = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];

const unlocked = (calls: string) => (capability: string) => ({
  names: words(calls),
  action: 'SCMP_ACT_ALLOW',
  includes: { caps: [capability] },
});

export const builtinProfile: SeccompProfile = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: ENOSYS,
  archMap: [
    { architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'] },
    { architecture: 'SCMP_ARCH_AARCH64', subArchitectures: ['SCMP_ARCH_ARM'] },
  ],
  syscalls: [
    {
      names: [...FILES, ...PROCESSES, ...MEMORY, ...WAITING, ...CLOCKS, ...SOCKETS, ...SYSTEM_V],
      action: 'SCMP_ACT_ALLOW',
    },
    {
      names: ['ptrace', 'process_vm_readv', 'process_vm_writev'],
      action: 'SCMP_ACT_ALLOW',
      includes: { minKernel: '4.8' },
    },
    ...PERSONALITIES.map((value) => ({
      names: ['personality'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
    })),
    { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: AF_VSOCK, op: 'SCMP_CMP_NE' }] },
    // Without CAP_SYS_ADMIN a clone may make threads and processes but no namespaces; clone3 hides its flags in
    // memory, where no filter sees them, so it is left out: it looks absent, and libc falls back to clone.
    {
      names: ['clone'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: CLONE_NAMESPACES, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
      excludes: { caps: ['CAP_SYS_ADMIN'] },
    },
    { names: NEVER, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM },
    { names: ARM, action: 'SCMP_ACT_ALLOW', includes: { arches: ['arm64'] } },
    ...REFUSED_WITHOUT.map(([capabilities, calls]) => ({
      names: words(calls),
      action: 'SCMP_ACT_ERRNO',
      errnoRet: EPERM,
      excludes: { caps: words(capabilities) },
    })),
    ...REFUSED_WITHOUT.flatMap(([capabilities, calls]) => words(capabilities).map(unlocked(calls))),
    ...ABSENT_WITHOUT.map(([capability, calls]) => unlocked(calls)(capability)),
  ],
};
