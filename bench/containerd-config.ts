/** The configuration of containerd. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasErofsSnapshotter } from './programs.ts';
import { endpointsOf, MIRRORED } from './registries.ts';
import type { BenchEnvironment, SideDirectories } from './running-side.ts';

const quoted = (text: string): string => JSON.stringify(text);

/** Writes it in the form of the version that is installed; returns the path. */
export function writeContainerdConfig(
  environment: BenchEnvironment,
  directories: SideDirectories,
  version: string,
): string {
  const { directory, state } = directories;
  const isNew = hasErofsSnapshotter(version);
  const lines = [
    `version = ${isNew ? 3 : 2}
root = ${quoted(join(directory, 'root'))}
state = ${quoted(state)}
[grpc]
address = ${quoted(join(state, 'containerd.sock'))}
[plugins."io.containerd.internal.v1.opt"]
path = ${quoted(join(directory, 'opt'))}
`,
    isNew ? criOfVersion3(environment, directories) : criOfVersion2(environment, directories),
  ];
  const file = join(directory, 'config.toml');
  writeFileSync(file, lines.join(''));
  return file;
}

/** The machine may not allow containerd to lower oom_score_adj. */
function criOfVersion2(environment: BenchEnvironment, { confDir }: SideDirectories): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  return `[${cri}]
sandbox_image = ${quoted(`${environment.registry}/bench/pause:1`)}
restrict_oom_score_adj = true
[${cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = ${quoted(confDir)}
${runtimes(cri, environment)}
[${cri}.registry.mirrors.${quoted(environment.registry)}]
endpoint = [${quoted(`http://${environment.registry}`)}]
[${cri}.registry.mirrors.${quoted(MIRRORED)}]
endpoint = ${JSON.stringify(environment.mirrors ?? [])}
`;
}

function criOfVersion3(environment: BenchEnvironment, { directory, confDir }: SideDirectories): string {
  const [images, runtime] = [
    'plugins."io.containerd.cri.v1.images"',
    'plugins."io.containerd.cri.v1.runtime"',
  ];
  return `[${images}]
snapshotter = ${quoted(environment.snapshotter)}
[${images}.pinned_images]
sandbox = ${quoted(`${environment.registry}/bench/pause:1`)}
[${images}.registry]
config_path = ${quoted(writeHosts(environment, join(directory, 'hosts')))}
[${runtime}]
restrict_oom_score_adj = true
[${runtime}.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = ${quoted(confDir)}
${runtimes(runtime, environment)}
${environment.snapshotter === 'erofs' ? EROFS : ''}`;
}

/** As containerd's documentation of the snapshotter recommends; sorting needs erofs-utils 1.8.2. */
const EROFS = `[plugins."io.containerd.differ.v1.erofs"]
mkfs_options = ["-T0", "--mkfs-time", "--sort=none"]
[plugins."io.containerd.service.v1.diff-service"]
default = ["erofs", "walking"]
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "linux"
snapshotter = "erofs"
differ = "erofs"
`;

const runtimes = (parent: string, { runtime }: BenchEnvironment): string => `[${parent}.containerd]
default_runtime_name = ${quoted(runtime)}
[${parent}.containerd.runtimes.${runtime}]
runtime_type = "io.containerd.runc.v2"
[${parent}.containerd.runtimes.${runtime}.options]
BinaryName = ${quoted(runtime)}
SystemdCgroup = false`;

/** A directory for each registry: mirrors in the configuration itself would switch the transfer service off. */
function writeHosts(environment: BenchEnvironment, directory: string): string {
  for (const [host, urls] of Object.entries(endpointsOf(environment))) {
    const own = join(directory, host);
    mkdirSync(own, { recursive: true });
    const entries = urls.map((url) => `[host.${quoted(url)}]\ncapabilities = ["pull", "resolve"]\n`);
    writeFileSync(
      join(own, 'hosts.toml'),
      `server = ${quoted(urls.at(-1) ?? `https://${host}`)}\n${entries.join('')}`,
    );
  }
  return directory;
}
