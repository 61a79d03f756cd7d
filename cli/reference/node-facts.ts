/** What the commands have in common with the node: files, variables of the environment, signals. */
import type { ExitCode } from '../command.ts';

export type Fact = ExitCode;

/** Variables that crisp reads; reference.test.ts holds the list to the sources. */
export const ENVIRONMENT: readonly Fact[] = [
  [
    'CONTAINER_RUNTIME_ENDPOINT',
    'CRI socket of `crisp ctl` and `crisp trace` where --runtime-endpoint is not given.',
  ],
  [
    'IMAGE_SERVICE_ENDPOINT',
    'CRI socket of the image service for `crisp ctl` where --image-endpoint is not given.',
  ],
  ['CRISP_ADMIN_SOCKET', 'Admin socket for `crisp ctl` where --admin-socket is not given.'],
  ['SHELL', 'What `crisp ctl debug` runs without a command.'],
  [
    'CRISP_POD, CRISP_ROOT, PATH',
    'Set by `crisp ctl debug` for its program: namespace/name of the pod; where the files of the container are; with --mounts, a usual path.',
  ],
  ['REGISTRY_PASSWORD', 'Password of `--creds USER`, so that it is on no command line.'],
  [
    'HTTP_PROXY, HTTPS_PROXY, NO_PROXY',
    "Proxies of the daemon's pulls, also in small letters; the options of `image.proxy` go before them.",
  ],
  [
    'CONTAINERS_REGISTRIES_CONF',
    'Registries file of the daemon where `image.registries_conf` is not set; it must exist.',
  ],
  [
    'NOTIFY_SOCKET',
    'Set by systemd (Type=notify): the daemon reports READY and RELOADING, its status, and that it is alive.',
  ],
  [
    'WATCHDOG_USEC, WATCHDOG_PID',
    'Set by systemd (WatchdogSec=): how often the daemon reports that it is alive.',
  ],
  [
    'LISTEN_FDS, LISTEN_PID',
    'Set by systemd (crisp.socket): it listens at the socket of CRI, and the daemon serves there.',
  ],
  ['PATH', "Where the node's programs are searched: the OCI runtime, conmon, iptables."],
  [
    'UV_THREADPOOL_SIZE',
    'Threads of the daemon for files and links; set to 16 by the launcher where it is not set.',
  ],
  [
    'NODE_COMPILE_CACHE',
    'Directory of the compile cache of Node; set to /var/cache/crisp by the launcher where root owns that.',
  ],
  [
    'NRI_PLUGIN_NAME, NRI_PLUGIN_IDX, NRI_PLUGIN_SOCKET, CRISP_NRI_TOKEN',
    'Set by the daemon for the NRI plugins that it starts: name, index, the descriptor of the connection; a random value, by which the next daemon finds what a killed one has left.',
  ],
  [
    'NODE_OPTIONS',
    "Node's own options, such as --cpu-prof: a daemon that makes a profile writes it when it stops.",
  ],
];

export const FILES: readonly Fact[] = [
  ['/etc/crisp/crisp.toml', 'Configuration, see `crisp.toml(5)`; another with --config.'],
  ['/etc/crisp/crisp.toml.d/*.toml', 'Read after it, in the order of their names.'],
  ['/run/crisp/crisp.sock', 'Where CRI is served (`socket`).'],
  [
    '/run/crisp/admin.sock',
    'Where other commands of crisp reach the daemon (`admin_socket`); for root only.',
  ],
  ['/run/crisp', 'Records and files of running pods and containers (`state`); on a tmpfs.'],
  ['/var/lib/crisp', 'Images, records, writable layers (`root`).'],
  ['/var/cache/crisp', 'Compile cache of Node; it may be deleted.'],
  ['/etc/cni/net.d', 'Network configurations (`cni.conf_dir`).'],
  ['/opt/cni/bin, /usr/lib/cni', 'CNI plugins (`cni.bin_dirs`).'],
  ['/var/run/nri/nri.sock', 'Where NRI plugins connect (`nri.socket`); for root only.'],
  [
    '/opt/nri/plugins, /etc/nri/conf.d',
    'NRI plugins that the daemon starts, and their configuration (`nri.plugin_dir`, `nri.plugin_config_dir`).',
  ],
  [
    '/usr/lib/systemd/system/crisp.service, crisp.socket',
    'Units of the daemon; `/etc/systemd/system` where it was installed from the tarball.',
  ],
];

/** Signals of the daemon; any other command is interrupted by the first SIGINT or SIGTERM. */
export const SIGNALS: readonly Fact[] = [
  [
    'SIGTERM, SIGINT',
    'The daemon stops: no new calls, running ones may end; pods and containers run on. A second one ends it at once.',
  ],
  [
    'SIGHUP',
    'The daemon reads its configuration again, as by `crisp reload`; the log says what has changed, or what is wrong.',
  ],
  ['SIGUSR1', 'The daemon writes its state to the log, as `crisp status` shows it.'],
];
