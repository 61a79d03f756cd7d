/** Annotations of CRI-O (pkg/annotations): what it does for pods that have them, where a handler allows them. */
import { acts, lacks, moot, option, type PeerAnnotation, passed } from '../annotation.ts';

const TUNING =
  "crisp does not change processors and interrupts of the node: keep such nodes on CRI-O, or tune them by the node's own means (tuned, reservedSystemCPUs of the kubelet)";

export const crioAnnotations: readonly PeerAnnotation[] = [
  acts(['shm-size.crio.io', 'io.kubernetes.cri-o.ShmSize'], 'size of /dev/shm'),
  acts('io.kubernetes.cri.rdt-class', 'class of RDT'),
  option(
    ['devices.crio.io', 'io.kubernetes.cri-o.Devices'],
    'devices for the container',
    'container.allowed_devices',
    'the list of devices is what allows the annotation',
  ),
  option(
    ['cgroup2-mount-hierarchy-rw.crio.io', 'io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw'],
    'cgroups of the container are mounted writable',
    'runtime.handlers.*.cgroup_writable',
    'for all containers of a handler, not by annotation',
  ),
  option(
    ['seccomp-profile.crio.io', 'seccomp-profile.kubernetes.cri-o.io'],
    'seccomp profile from an OCI artifact',
    'runtime.handlers.*.seccomp_profile',
    'a file; for one pod seccompProfile with type: Localhost. Artifacts are not read',
  ),
  lacks(
    ['userns-mode.crio.io', 'io.kubernetes.cri-o.userns-mode'],
    'user namespace',
    'hostUsers: false in the pod; the kubelet assigns its ids',
  ),
  lacks(
    ['unified-cgroup.crio.io', 'io.kubernetes.cri-o.UnifiedCgroup'],
    'control files of cgroup v2',
    'limits of the pod; the kubelet sets memory.min, memory.high and memory.swap.max itself (MemoryQoS, swapBehavior)',
  ),
  lacks(
    ['umask.crio.io', 'io.kubernetes.cri-o.umask'],
    'umask of the first process',
    'umask in the command of the container: sh -c "umask 027; exec …"',
  ),
  lacks('cpu-load-balancing.crio.io', 'no load balancing on the processors of the container', TUNING),
  lacks('cpu-quota.crio.io', 'no CPU quota', `cpuCFSQuota: false in the kubelet, or no CPU limit. ${TUNING}`),
  lacks('cpu-c-states.crio.io', 'C-states of the processors', TUNING),
  lacks('cpu-freq-governor.crio.io', 'governor of the frequency', TUNING),
  lacks('cpu-shared.crio.io', 'processors that are shared beside exclusive ones', TUNING),
  lacks('irq-load-balancing.crio.io', 'no interrupts on the processors of the container', TUNING),
  lacks(
    ['seccomp-notifier-action.crio.io', 'io.kubernetes.cri-o.seccompNotifierAction'],
    'system calls that a profile forbids are reported, or stop the container',
    'a profile with SCMP_ACT_NOTIFY and an agent of its own: docs/operators.md, Seccomp profiles with an agent',
  ),
  lacks(
    ['link-logs.crio.io', 'io.kubernetes.cri-o.LinkLogs'],
    'links to the logs of the pod in an emptyDir',
    'a hostPath volume of /var/log/pods/NAMESPACE_NAME_UID, for a pod that may have one',
  ),
  lacks(
    ['try-skip-volume-selinux-label.crio.io', 'io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel'],
    'a volume whose root has its SELinux label is not relabelled',
    "not read: docs/operators.md, SELinux; the kubelet's SELinuxMount needs no relabelling",
  ),
  lacks(
    ['platform-runtime-path.crio.io', 'io.kubernetes.cri-o.PlatformRuntimePath'],
    'OCI runtime of another platform',
    'a handler for each OCI runtime, by RuntimeClass',
  ),
  lacks(
    ['disable-fips.crio.io', 'io.kubernetes.cri-o.DisableFIPS'],
    'no FIPS mode in the pod',
    "crisp sets up nothing for FIPS mode: programs see that of the node's kernel",
  ),
  moot('skip-gomaxprocs.crio.io', 'GOMAXPROCS is not set', 'crisp sets no GOMAXPROCS'),
  moot(
    ['pod-linux-resources.crio.io', 'io.kubernetes.cri-o.PodLinuxResources'],
    'resources of the pod, which CRI-O notes there',
    '`crictl inspectp` has them (info.resources)',
  ),
  moot(
    ['pod-linux-overhead.crio.io', 'io.kubernetes.cri-o.PodLinuxOverhead'],
    'overhead of the pod, which CRI-O notes there',
    '`crictl inspectp` has it (info.overhead)',
  ),
  moot(
    ['spoofed.crio.io', 'io.kubernetes.cri-o.Spoofed'],
    'a pod without an infra container, which CRI-O notes there',
    'there is no infra container',
  ),
  moot(
    'org.opencontainers.image.stopSignal',
    'stop signal of the image',
    "that of the image's configuration counts, and lifecycle.stopSignal of the pod",
  ),
  passed('io.containers.trace-syscall', 'system calls are recorded by the hook oci-seccomp-bpf-hook'),
  passed('org.systemd.property.', 'properties of the scope of the container'),
  passed('module.wasm.image/variant', 'crun runs a WebAssembly module'),
  passed('org.criu.config', 'configuration of CRIU'),
  passed('bundle', 'path of the bundle, for runc'),
  moot(
    'io.kubernetes.cri.container-type',
    'container or sandbox',
    'always set, as the other `io.kubernetes.cri.*` of containerd',
  ),
  lacks(
    'run.oci.',
    'options of crun',
    'never passed: a pod could replace filters, or run programs of the node',
  ),
];
