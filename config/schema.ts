/**
 * Every option of crisp, once: an entry here defines its default, its key in the TOML files, its checks, its flag
 * and its lines in `crisp config`. To add an option, add an entry. A reload applies changes in a
 * `reloadableSection`, but for options with `atStart`.
 *
 * Loaded values have camelCase names; durations are milliseconds, sizes are bytes.
 */
import { container, handler } from './container-options.ts';
import { LISTEN, tlsOptions } from './listener-options.ts';
import type { Infer } from './node.ts';
import { nri } from './nri-options.ts';
import {
  choice,
  duration,
  flag,
  integer,
  list,
  mode,
  optionalPath,
  path,
  section,
  size,
  table,
  text,
  url,
} from './option.ts';
import { atStart, reloadableSection } from './reloadable.ts';
import { selinux } from './selinux-options.ts';

const stage = { min: '1s', max: '1h' };

const registry = section('A registry, by host, host:port or *.domain.', {
  mirrors: list(
    [],
    'Endpoints tried in order before the registry itself: host[:port][/path] as in names of images, or a URL.',
  ),
  insecure: flag(false, 'Use plain HTTP.'),
  skip_verify: flag(false, 'Do not verify the TLS certificate.'),
  ca_file: optionalPath('PEM file of the CAs to trust for this registry.'),
});

export const schema = section('', {
  root: path('/var/lib/crisp', 'Directory of what survives a reboot: images, records, writable layers.'),
  state: path('/run/crisp', 'Directory of what does not survive a reboot; on a tmpfs.'),
  socket: path('{state}/crisp.sock', 'The socket on which CRI is served.'),
  admin_socket: path(
    '{state}/admin.sock',
    'The socket of `crisp status`, `image`, `check --images` and `ctl cp`, for root only.',
  ),
  socket_mode: mode(0o660, 'Permissions of the socket; its owner is root.'),
  containerd_socket: optionalPath(
    'Where cAdvisor\'s calls to containerd are answered as well, such as "/run/containerd/containerd.sock", which the kubelet asks by default; empty: on `socket` alone.',
  ),
  log: reloadableSection("The daemon's own log, on standard error.", {
    level: choice(['debug', 'info', 'warn', 'error'], 'info', 'Lowest level that is written.'),
    format: choice(['json', 'text'], 'json', 'One JSON object per line, or human-readable text.'),
  }),
  metrics: reloadableSection('Prometheus metrics.', {
    address: text(
      '',
      'Address of /metrics, /livez, /healthz and /readyz, such as "127.0.0.1:9090"; empty: disabled.',
      {
        pattern: LISTEN,
        expected: 'IP address and port such as "127.0.0.1:9090", or ""',
      },
    ),
    ...tlsOptions,
  }),
  streaming: reloadableSection('Sessions of exec, attach and port-forward.', {
    address: atStart(
      text(
        '127.0.0.1:0',
        'Address that clients, usually the kubelet of this node, connect to; port 0: any free one.',
        {
          pattern: new RegExp(LISTEN.source.replace('^$|', '')),
          expected: 'IP address and port such as "127.0.0.1:0"',
        },
      ),
    ),
    ...tlsOptions,
    idle_timeout: duration(
      '4h',
      { min: '1s', max: '24h' },
      'A session without traffic for this time is closed.',
    ),
  }),
  tracing: section('OpenTelemetry traces of calls and their stages.', {
    endpoint: url(
      'Collector for OTLP over HTTP, such as "http://127.0.0.1:4318"; empty: none.',
      'http://127.0.0.1:4318',
    ),
    samples_per_million: integer(
      0,
      { min: 0, max: 1_000_000 },
      'How many of a million calls without a trace context are traced. Calls that the client samples always are.',
    ),
  }),
  cgroup: section('Control groups.', {
    driver: choice(
      ['auto', 'cgroupfs', 'systemd'],
      'auto',
      'What creates the cgroups. auto: systemd where it is PID 1.',
    ),
    parent: path('/crisp', 'Parent cgroup of pods for which the client sends none (cgroupfs form).'),
  }),
  cni: reloadableSection('Pod network.', {
    conf_dir: path(
      '/etc/cni/net.d',
      'Directory of network configurations; the first by name is used, see max_networks.',
    ),
    network: text(
      '',
      'Name of the network to use, in any of the files; empty: the network of the first file.',
      {
        pattern: /^([A-Za-z0-9][A-Za-z0-9_.-]*)?$/,
        expected: 'the name of a network, or ""',
      },
    ),
    max_networks: integer(
      1,
      { min: 0, max: 16 },
      'How many networks a pod is attached to where none is named: the first by file name, as eth0, eth1 and so on; 0: all. Its addresses are those of eth0.',
    ),
    ip_pref: choice(
      ['cni', 'ipv4', 'ipv6'],
      'cni',
      'Which address of a pod is its main one: the first of a family, or (cni) the first that the plugins return.',
    ),
    host_ports: flag(
      true,
      'Map ports of the node to pods (hostPort). false: they are ignored, for networks that do it themselves.',
    ),
    bin_dirs: list(
      ['/opt/cni/bin', '/usr/lib/cni'],
      'Directories of CNI plugins, searched in order.',
      path('', ''),
    ),
    template: optionalPath(
      'A CNI configuration with "{{ranges}}", "{{routes}}" or "{{subnet}}" in it, from which 10-crisp.conflist is written when the node gets its pod CIDR.',
    ),
    native: choice(
      ['auto', 'exec'],
      'auto',
      'auto: the plugins of a list, from the first on, are done in-process with the same result as far as all of their keys are supported (bridge, ptp, flannel, host-local, portmap, bandwidth, tuning, firewall with iptables, loopback), the others run; exec: always run the plugins.',
    ),
    timeout: duration(
      '90s',
      stage,
      'Timeout of a whole ADD or DEL. The kubelet waits four minutes for a pod.',
    ),
    gc_interval: duration(
      '1h',
      { min: '0s', max: '7d' },
      'After the start and once in this time the plugins of CNI 1.1 are told which pods exist (GC), and addresses and rules of pods without a record are released; "0s": never.',
    ),
  }),
  runtime: reloadableSection('OCI runtimes.', {
    default: text(
      '',
      'Handler of pods without a runtime_handler. Empty: the first of crun, runc that works on this machine.',
    ),
    handlers: table('Handlers by name; crun and runc exist without an entry.', handler),
  }),
  cdi: reloadableSection('Container Device Interface.', {
    dirs: list(
      ['/etc/cdi', '/var/run/cdi'],
      'Directories of CDI specs; a device in a later one overrides one of the same name.',
      path('', ''),
    ),
  }),
  hooks: reloadableSection('OCI hooks that are added to containers, in the format of oci-hooks(5).', {
    dirs: list(
      ['/usr/share/containers/oci/hooks.d', '/etc/containers/oci/hooks.d'],
      'Directories of hooks; a file in a later one overrides one of the same name.',
      path('', ''),
    ),
  }),
  conmon: reloadableSection('The monitor of a container.', {
    path: text('conmon', 'Absolute path, or a name looked up in PATH.'),
  }),
  pause: section("The process that holds a pod's namespaces.", {
    path: optionalPath('The pause program; empty: the one installed with crisp.'),
  }),
  container,
  selinux,
  nri,
  seccomp: reloadableSection('System call filters.', {
    default_profile: optionalPath('JSON profile of RuntimeDefault; empty: the built-in one.'),
  }),
  image: reloadableSection('Images and registries.', {
    registries: table(
      'Registries by host, host:port or *.domain. Other configuration of a host that is listed here is not used.',
      registry,
    ),
    hosts_dirs: list(
      ['/etc/containerd/certs.d', '/etc/docker/certs.d'],
      'Directories with HOST/hosts.toml, in the format of containerd; read at each pull.',
      path('', ''),
    ),
    registries_conf: optionalPath(
      'Registries in the format of containers-registries.conf(5), read at each pull. Where this is not set, CONTAINERS_REGISTRIES_CONF is.',
      '/etc/containers/registries.conf',
    ),
    registries_conf_dir: optionalPath('Directory of its drop-in files.', '/etc/containers/registries.conf.d'),
    proxy: section('The proxies for registries; each setting goes before that of the environment.', {
      http: text('', 'For http URLs; empty: HTTP_PROXY, http_proxy.'),
      https: text('', 'For https URLs; empty: HTTPS_PROXY, https_proxy.'),
      no_proxy: list([], 'Hosts asked without a proxy, as in NO_PROXY; empty: NO_PROXY, no_proxy.'),
    }),
    certs_dirs: list(
      ['/etc/containers/certs.d', '/etc/docker/certs.d', '/etc/containerd/certs.d'],
      "Directories with HOST/*.crt (authorities), *.cert and *.key (a client's certificate); read at each pull.",
      path('', ''),
    ),
    auth_file: optionalPath("Registry credentials in the format of docker's config.json or of auth.json."),
    auth_files: list(
      [],
      'More files of the same kind, in order; the first that has credentials for an image counts.',
      path('', ''),
    ),
    max_layer_size: atStart(
      size('64GiB', { min: '1MiB', max: '1024TiB' }, 'A layer with a larger unpacked size is refused.'),
    ),
    max_layer_entries: atStart(
      integer(2_000_000, { min: 1, max: 100_000_000 }, 'A layer with more files is refused.'),
    ),
    policy_file: optionalPath(
      'Signature policy (containers-policy.json(5)); empty: /etc/containers/policy.json if it exists.',
    ),
    policy_registries_dir: path(
      '/etc/containers/registries.d',
      'Where signatures are: directory of containers-registries.d(5).',
    ),
    verifier_dir: path(
      '/opt/containerd/image-verifier/bin',
      'Directory of image verifiers: each of its programs must accept an image (containerd).',
    ),
    max_verifiers: integer(
      10,
      { min: -1, max: 1000 },
      'Verifiers that are called, the first by their names; -1: all.',
    ),
    verifier_timeout: duration('10s', stage, 'How long one image verifier may run.'),
    pull_stall_timeout: duration('60s', stage, 'A transfer that receives nothing for this time is retried.'),
    pull_min_rate: size(
      '1KiB',
      { min: '0', max: '1GiB' },
      'A transfer that receives less per second, over a minute, is retried or continued elsewhere; 0: no limit.',
    ),
    concurrent_layers: atStart(
      integer(3, { min: 1, max: 16 }, 'Layers fetched at the same time, over all pulls.'),
    ),
    layers: atStart(
      choice(
        ['auto', 'erofs', 'directory'],
        'auto',
        'The form of new layers: EROFS images, mounted by the kernel, or directories; auto: EROFS where this node can mount it.',
      ),
    ),
    keep_blobs: atStart(
      flag(false, 'Keep the compressed blobs of layers, which only `crisp image export` needs.'),
    ),
    verify_interval: atStart(
      duration(
        '0s',
        { min: '0s', max: '365d' },
        'The images on the disk are compared with their digests once in this time, slowly and in the background, such as "7d"; "0s": never.',
      ),
    ),
    unpack_workers: atStart(
      integer(
        4,
        { min: 1, max: 16 },
        'Threads that unpack layers, over all pulls; each takes one layer while it arrives.',
      ),
    ),
    pinned: list([], 'References of images that clients should not garbage collect.'),
    platform: text(
      '',
      'Platform chosen from an image index, such as "linux/arm64/v8"; empty: the machine\'s.',
      {
        pattern: /^(|linux\/[a-z0-9]+(\/[a-z0-9]+)?)$/,
        expected: '"linux/arch", "linux/arch/variant", or ""',
      },
    ),
  }),
  timeouts: reloadableSection('Timeouts of stages; the error names the stage whose timeout expired.', {
    namespaces: duration('20s', stage, "Creating a pod's namespaces."),
    files: duration('20s', stage, 'Mounts and files of a pod or container.'),
    cgroup: duration('20s', stage, 'Creating, emptying or removing a cgroup.'),
    runtime: duration('60s', stage, 'One call of the OCI runtime.'),
    undo: duration('30s', stage, 'Undoing one effect.'),
  }),
});

export type Config = Infer<typeof schema>;
