/** Options of CRI-O: [crio.runtime], what concerns the daemon and the node. */
import { blockioFile, rdtFile } from '../classes.ts';
import { directories, logLevel } from '../convert.ts';
import { lacks, maps, moot, under } from '../option.ts';

const BY_PORTMAP =
  'host ports are mapped by the CNI plugin portmap alone: the CNI configuration must have it ("capabilities": {"portMappings": true})';
const PLACE = 'crisp keeps such files in its state directory';
const CGROUP = 'the monitors of a pod are in a cgroup of that pod';
const NO_IRQ = 'crisp does not change the affinity of interrupts; only annotated pods are concerned';
const CPUS = 'processes of crisp in a pod run on the CPUs of its cgroup';

export const runtimeOptions = under(
  ['crio', 'runtime'],
  [
    maps('default_runtime', 'crun', 'runtime.default', {
      convert: (value, { get }) => {
        if (value === 'crun' || value === '')
          return { same: 'the same here: the first of crun, runc that works' };
        return get('crio', 'runtime', 'runtimes', String(value), 'runtime_type') === 'vm'
          ? {
              cannot:
                'this handler is a shim of containerd, which crisp does not execute: choose runtime.default',
            }
          : { set: [[['runtime', 'default'], value]] };
      },
    }),
    lacks('no_pivot', false, 'pivot_root is always used: a root on a ramfs is not supported'),
    lacks(
      'decryption_keys_path',
      '/etc/crio/keys/',
      'encrypted layers are refused: push such images unencrypted',
    ),
    lacks(
      'additional_artifact_stores',
      [],
      'artifacts are pulled from registries, or loaded by `crisp image import`',
    ),
    maps('conmon', '', 'conmon.path', {
      convert: (value) =>
        value === '' ? { same: 'the same here: conmon in PATH' } : { set: [[['conmon', 'path'], value]] },
    }),
    moot('conmon_cgroup', '', CGROUP),
    lacks('conmon_env', [], 'conmon and the OCI runtime get a fixed PATH and nothing else'),
    maps('cgroup_manager', 'systemd', 'cgroup.driver', {
      convert: (value) =>
        value === 'systemd'
          ? { same: 'the same here: systemd where it is PID 1' }
          : { set: [[['cgroup', 'driver'], value]] },
    }),
    lacks('separate_pull_cgroup', '', 'pulls run in the cgroup of the daemon: limit that of its unit'),
    maps('selinux', false, 'selinux.mode', {
      note: '"off" for false',
      convert: (value) =>
        value === true
          ? { same: 'the same here, with selinux.mode = "auto": labels where the node has SELinux' }
          : { set: [[['selinux', 'mode'], 'off']] },
      differs: 'labels where the node has SELinux enabled, as CRI-O has them where no file sets this',
    }),
    maps('hostnetwork_disable_selinux', true, 'selinux.disable_for_host_network', {
      differs: "containers on the node's network have labels, too",
    }),
    maps('seccomp_profile', '', 'seccomp.default_profile'),
    maps('apparmor_profile', 'crio-default', 'container.apparmor_profile', {
      convert: (value) =>
        value === 'crio-default' || value === ''
          ? { same: 'crisp loads a default profile of its own, crisp-default' }
          : { set: [[['container', 'apparmor_profile'], value]] },
      note: 'crio-default: the default, crisp-default',
    }),
    blockioFile,
    moot('blockio_reload', false, 'the devices of a class are looked up for each container'),
    rdtFile,
    lacks('irqbalance_config_file', '/etc/sysconfig/irqbalance', NO_IRQ),
    lacks('irqbalance_config_restore_file', '/etc/sysconfig/orig_irq_banned_cpus', NO_IRQ),
    maps('cdi_spec_dirs', ['/etc/cdi', '/var/run/cdi'], 'cdi.dirs'),
    maps('hooks_dir', ['/usr/share/containers/oci/hooks.d'], 'hooks.dirs', {
      convert: directories(
        ['/usr/share/containers/oci/hooks.d'],
        'the same here, and /etc/containers/oci/hooks.d',
        'hooks',
        'dirs',
      ),
    }),
    maps('log_level', 'info', 'log.level', { convert: logLevel }),
    lacks('log_filter', '', 'the log has one JSON object per line: filter it where it is read (jq)', {
      differs: 'log lines are JSON objects; log.format = "text" for human-readable text',
    }),
    lacks('log_to_journald', false, "conmon writes the kubelet's log file alone: collect /var/log/pods"),
    moot('container_exits_dir', '/var/run/crio/exits', PLACE),
    moot('container_attach_socket_dir', '/var/run/crio', PLACE),
    moot('namespaces_dir', '/var/run', PLACE),
    moot('pinns_path', '', 'crisp pins namespaces itself'),
    moot('manage_ns_lifecycle', undefined, 'removed from CRI-O; crisp pins namespaces itself'),
    moot('manage_network_ns_lifecycle', undefined, 'removed from CRI-O; crisp pins namespaces itself'),
    lacks('bind_mount_prefix', '', 'run crisp on the host, where paths of mounts are what the kubelet means'),
    moot('ctr_stop_timeout', 30, 'a stop waits as long as the call requests'),
    moot('drop_infra_ctr', true, 'there is no infra container: a small pause process holds the namespaces'),
    lacks('infra_ctr_cpuset', '', CPUS),
    lacks(
      'shared_cpuset',
      '',
      'there are no shared CPU sets: give such containers their own request of CPUs',
    ),
    lacks(
      'enable_criu_support',
      true,
      "containers can be checkpointed where CRIU works: switch it off by the kubelet's gate ContainerCheckpoint",
    ),
    moot(
      'enable_pod_events',
      false,
      "GetContainerEvents is always served; the kubelet's EventedPLEG decides",
    ),
    maps('disable_hostport_mapping', false, 'cni.host_ports', {
      convert: (value) =>
        value === true ? { set: [[['cni', 'host_ports'], false]] } : { cannot: BY_PORTMAP },
      note: 'the opposite value',
      differs: BY_PORTMAP,
    }),
  ],
);
