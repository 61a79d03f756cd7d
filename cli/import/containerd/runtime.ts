/** Options of containerd's CRI plugin for pods and containers, and of its server. */
import { directories, directory, listenAddress, onlyIf } from '../convert.ts';
import { type Convert, lacks, maps, moot, type PeerOption, under } from '../option.ts';
import { CRI, RUNTIME } from './names.ts';

const IN_RUNTIME = ['plugins', RUNTIME];
const SERVER = ['plugins', CRI];
const ON_REQUEST = 'stats are read from the cgroups on request';

/** A sysctl that is set in pods with their own network, or left as the kernel has it. */
const sysctl =
  (name: string, on: string, off: string): Convert =>
  (value) => ({ set: [[['container', 'default_sysctls', name], value === true ? on : off]] });

const cdi: Convert = (value) =>
  value === true
    ? { same: 'CDI is always on' }
    : { set: [[['cdi', 'dirs'], []]], note: 'without directories no device is known' };

const cni: readonly PeerOption[] = [
  maps('bin_dirs', ['/opt/cni/bin'], 'cni.bin_dirs', {
    convert: directories(['/opt/cni/bin'], 'the same here, and /usr/lib/cni', 'cni', 'bin_dirs'),
  }),
  maps('bin_dir', '', 'cni.bin_dirs', {
    note: 'deprecated in containerd',
    convert: (value, around) =>
      value === ''
        ? { same: 'bin_dirs counts' }
        : directories(
            ['/opt/cni/bin'],
            'the same here, and /usr/lib/cni',
            'cni',
            'bin_dirs',
          )([value], around),
  }),
  maps('conf_dir', '/etc/cni/net.d', 'cni.conf_dir', { convert: directory('cni', 'conf_dir') }),
  maps('max_conf_num', 1, 'cni.max_networks'),
  moot('setup_serially', false, 'several networks are made one after another'),
  maps('conf_template', '', 'cni.template', {
    note: 'the placeholders are others',
    convert: (value) =>
      value === ''
        ? { same: 'none' }
        : {
            cannot:
              'choose cni.template: "{{ranges}}", "{{routes}}" and "{{subnet}}" are what Go\'s .PodCIDRRanges, .Routes and .PodCIDR are; docs/operators.md, Limits',
          },
  }),
  maps('ip_pref', '', 'cni.ip_pref', {
    convert: (value) => ({ set: [[['cni', 'ip_pref'], value || 'ipv4']] }),
    note: 'empty: "ipv4"',
    differs: 'the first address of the CNI result is the main one, of whatever family',
  }),
  moot('use_internal_loopback', false, 'crisp brings the loopback interface up itself'),
];

export const runtimeOptions: readonly PeerOption[] = under(IN_RUNTIME, [
  maps('enable_selinux', false, 'selinux.mode', {
    note: '"off" for false',
    convert: (value) =>
      value === true
        ? { same: 'the same here, with selinux.mode = "auto": labels where the node has SELinux' }
        : { set: [[['selinux', 'mode'], 'off']] },
    differs: 'where the node has SELinux enabled pods get labels: set selinux.mode = "off" for none',
  }),
  maps('selinux_category_range', 1024, 'selinux.category_range', {
    note: 'at most 1024',
    convert: (value) => {
      const range = Number(value);
      if (range === 0) return { same: '1024, the same here' };
      return range >= 2 && range <= 1024
        ? { set: [[['selinux', 'category_range'], value]] }
        : { cannot: 'the policies of distributions have 1024 categories: choose 2 to 1024' };
    },
  }),
  lacks(
    'max_container_log_line_size',
    16_384,
    'conmon writes the log: it reads 8 KiB at a time, a record never has more, and no option of it changes that. The parts of a longer line have the tag P, as here, and `kubectl logs` joins them',
    {
      differs:
        'lines of more than 8 KiB are written in parts, not of more than 16 KiB; a line that is written in pieces may have more parts',
    },
  ),
  lacks('disable_cgroup', false, 'cgroups are required'),
  maps('disable_apparmor', false, 'container.apparmor_profile', {
    convert: (value) =>
      value === true
        ? {
            set: [[['container', 'apparmor_profile'], 'unconfined']],
            note: 'a profile that a pod names is still applied',
          }
        : { same: 'AppArmor is used where the kernel has it and apparmor_parser is installed' },
    note: 'true: "unconfined"',
  }),
  moot('restrict_oom_score_adj', false, 'what the daemon may not lower is raised to what it may, and logged'),
  lacks('disable_proc_mount', false, 'procMount of the pod is always followed'),
  lacks(
    'unset_seccomp_profile',
    '',
    'without a profile in the request there is none: set seccompDefault in the kubelet',
  ),
  lacks(
    'tolerate_missing_hugetlb_controller',
    true,
    'limits of huge pages are skipped where the controller is missing',
  ),
  moot('disable_hugetlb_controller', true, 'limits of huge pages are applied where the controller is'),
  maps('device_ownership_from_security_context', false, 'container.device_ownership_from_security_context'),
  lacks(
    'ignore_image_defined_volumes',
    false,
    "volumes of an image are directories of the container's own layer, writable also under a read-only root",
  ),
  moot('netns_mounts_under_state_dir', false, 'namespaces are always pinned in the state directory'),
  maps('enable_unprivileged_ports', true, 'container.default_sysctls.*', {
    convert: sysctl('net.ipv4.ip_unprivileged_port_start', '0', '1024'),
    note: 'net.ipv4.ip_unprivileged_port_start',
  }),
  maps('enable_unprivileged_icmp', true, 'container.default_sysctls.*', {
    convert: sysctl('net.ipv4.ping_group_range', '0 2147483647', '1 0'),
    note: 'net.ipv4.ping_group_range',
  }),
  maps('enable_cdi', true, 'cdi.dirs', { convert: cdi, note: 'false: an empty list' }),
  maps('cdi_spec_dirs', ['/etc/cdi', '/var/run/cdi'], 'cdi.dirs', {
    convert: onlyIf(
      ({ get }) => get(...IN_RUNTIME, 'enable_cdi') !== false,
      'not in use: enable_cdi is off',
      (value) => ({ set: [[['cdi', 'dirs'], value]] }),
    ),
  }),
  moot(
    'drain_exec_sync_io_timeout',
    '0s',
    'what a command of ExecSync leaves running does not delay its result',
  ),
  moot('ignore_deprecation_warnings', [], 'there are no such warnings'),
  moot('stats_collect_period', '1s', ON_REQUEST),
  moot('stats_retention_period', '2m', ON_REQUEST),
  lacks(
    'enable_criu',
    true,
    "containers can be checkpointed where CRIU works: switch it off by the kubelet's gate ContainerCheckpoint",
  ),
  moot('systemd_cgroup', false, 'without effect in containerd: SystemdCgroup of the runtimes counts'),
  ...under(['cni'], cni),
]);

const key = (name: string, to: string): PeerOption =>
  maps(`x509_key_pair_streaming.${name}`, '', to, {
    convert: onlyIf(
      ({ get }) => get(...SERVER, 'enable_tls_streaming') === true,
      'not in use: enable_tls_streaming is off',
      (value) => ({ set: [[to.split('.'), value]] }),
    ),
  });

export const criServerOptions: readonly PeerOption[] = under(SERVER, [
  lacks('disable_tcp_service', true, 'CRI is served on a unix socket alone'),
  maps('stream_server_address', '127.0.0.1', 'streaming.address', {
    convert: (value, { get }) => ({
      set: [[['streaming', 'address'], listenAddress(value, get(...SERVER, 'stream_server_port'))]],
    }),
  }),
  maps('stream_server_port', '0', 'streaming.address', {
    convert: (value, { get }) => ({
      set: [[['streaming', 'address'], listenAddress(get(...SERVER, 'stream_server_address'), value)]],
    }),
  }),
  maps('stream_idle_timeout', '4h0m0s', 'streaming.idle_timeout'),
  maps('enable_tls_streaming', false, 'streaming.tls_cert_file', {
    note: 'sessions are encrypted where a certificate is set',
    convert: (value, { get }) =>
      value === true && get(...SERVER, 'x509_key_pair_streaming', 'tls_cert_file') === ''
        ? {
            cannot:
              'crisp makes no certificate itself: set streaming.tls_cert_file and streaming.tls_key_file',
          }
        : { same: 'sessions are encrypted where streaming.tls_cert_file is set' },
  }),
  key('tls_cert_file', 'streaming.tls_cert_file'),
  key('tls_key_file', 'streaming.tls_key_file'),
]);
