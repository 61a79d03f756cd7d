/** The configuration of CRI-O (crio.conf(5)), like containerd's as far as the two have the same options. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NETWORK, PLUGINS } from './conflist.ts';
import type { CrioPrograms } from './programs.ts';
import { endpointsOf } from './registries.ts';
import type { BenchEnvironment, SideDirectories } from './running-side.ts';

/** What CRI-O is started with. */
export interface CrioConfig {
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly socket: string;
}

const quoted = (text: string): string => JSON.stringify(text);

/** Writes everything that CRI-O would else take from the machine's files below /etc. */
export function writeCrioConfig(
  environment: BenchEnvironment,
  directories: SideDirectories,
  programs: CrioPrograms,
): CrioConfig {
  const { directory, state } = directories;
  const none = join(directory, 'none');
  for (const path of [directory, state, none]) mkdirSync(path, { recursive: true });
  const write = (name: string, text: string): string => {
    const file = join(directory, name);
    writeFileSync(file, text);
    return file;
  };
  const policy = write('policy.json', '{"default":[{"type":"insecureAcceptAnything"}]}\n');
  const registries = write('registries.conf', registriesConf(environment));
  const storage = write('storage.conf', storageConf(directories));
  const socket = join(state, 'crio.sock');
  const file = write(
    'crio.conf',
    [
      crioConf(directories, socket),
      runtimeConf(environment, directories, programs),
      imageConf(environment, policy, none),
      networkConf(directories),
    ].join(''),
  );
  return {
    argv: [programs.crio, '--config', file, '--config-dir', none],
    environment: {
      CONTAINER_REGISTRIES_CONF: registries,
      CONTAINER_REGISTRIES_CONF_DIR: none,
      CONTAINERS_STORAGE_CONF: storage,
    },
    socket,
  };
}

function crioConf({ directory, state }: SideDirectories, socket: string): string {
  return `[crio]
root = ${quoted(join(directory, 'root'))}
runroot = ${quoted(join(state, 'storage'))}
storage_driver = "overlay"
storage_option = [${quoted(SKIP_MOUNT)}]
log_dir = ${quoted(join(directory, 'logs'))}
version_file = ${quoted(join(state, 'version'))}
version_file_persist = ${quoted(join(directory, 'version'))}
clean_shutdown_file = ${quoted(join(directory, 'clean.shutdown'))}
[crio.api]
listen = ${quoted(socket)}
stream_address = "127.0.0.1"
stream_port = "0"
[crio.metrics]
enable_metrics = false
[crio.nri]
enable_nri = false
`;
}

/** Else it mounts its root onto itself, and the file system of a pull could not be mounted anew. */
const SKIP_MOUNT = 'overlay.skip_mount_home=true';

/**
 * The bench's pods share no PID namespace: CRI-O then runs no infra container, whose negative oom_score_adj needs
 * CAP_SYS_RESOURCE. "disable" keeps the machine's irqbalance as it is.
 */
function runtimeConf(
  { runtime }: BenchEnvironment,
  { directory, state }: SideDirectories,
  programs: CrioPrograms,
): string {
  return `[crio.runtime]
default_runtime = ${quoted(runtime)}
cgroup_manager = "cgroupfs"
conmon_cgroup = ""
drop_infra_ctr = true
log_level = "warn"
hooks_dir = []
irqbalance_config_restore_file = "disable"
decryption_keys_path = ${quoted(join(directory, 'none'))}
container_exits_dir = ${quoted(join(state, 'exits'))}
container_attach_socket_dir = ${quoted(join(state, 'attach'))}
namespaces_dir = ${quoted(join(state, 'namespaces'))}
pinns_path = ${quoted(programs.pinns)}
[crio.runtime.runtimes.${runtime}]
runtime_path = ${quoted(programs.runtime)}
runtime_root = ${quoted(join(state, runtime))}
runtime_type = "oci"
monitor_path = ${quoted(programs.conmon)}
`;
}

const imageConf = ({ registry }: BenchEnvironment, policy: string, none: string): string => `[crio.image]
pause_image = ${quoted(`${registry}/bench/pause:1`)}
signature_policy = ${quoted(policy)}
signature_policy_dir = ${quoted(none)}
`;

const networkConf = ({ confDir }: SideDirectories): string => `[crio.network]
cni_default_network = ${quoted(NETWORK)}
network_dir = ${quoted(confDir)}
plugin_dirs = [${quoted(PLUGINS)}]
`;

const storageConf = ({ directory, state }: SideDirectories): string => `[storage]
driver = "overlay"
graphroot = ${quoted(join(directory, 'root'))}
runroot = ${quoted(join(state, 'storage'))}
`;

/** containers-registries.conf(5), version 2: an endpoint has no scheme, and plain HTTP is tried where it is insecure. */
function registriesConf(environment: BenchEnvironment): string {
  const lines = Object.entries(endpointsOf(environment)).flatMap(([host, urls]) => [
    `[[registry]]\nprefix = ${quoted(host)}\nlocation = ${quoted(host)}\ninsecure = true`,
    ...urls
      .map((url) => new URL(url).host)
      .filter((mirror) => mirror !== host)
      .map((mirror) => `[[registry.mirror]]\nlocation = ${quoted(mirror)}\ninsecure = true`),
  ]);
  return `unqualified-search-registries = []\n${lines.join('\n')}\n`;
}
