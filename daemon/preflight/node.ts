/** The node as `crisp check` looks at it: each question by itself, so that one that fails leaves the others their answers. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { release } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Config } from '#config/index.ts';
import { Operation, silentLog } from '#core/operation.ts';
import { type LayerForm, probeLayerForm } from '#image-service/index.ts';
import { openCgroups } from '#linux/cgroup/open.ts';
import { files } from '#linux/fs/files.ts';
import { openKernel } from '#linux/index.ts';
import { readMounts } from '#linux/mount/mount-table.ts';
import { mounts } from '#linux/mount/mounts.ts';
import { hasNfTables, type NodeNetwork, readNodeNetwork } from '#linux/net/node-network.ts';
import type { Cgroups, MountEntry } from '#linux/ports/kernel.ts';
import type { SelinuxStatus } from '#linux/ports/selinux.ts';
import { openSeccomp } from '#linux/process/seccomp.ts';
import { RealSelinux } from '#linux/selinux/selinux.ts';
import { isInProcess, type NetworkConfig } from '#pod-sandbox/index.ts';
import { AppArmorKernel, type ConfiguredProfile, configuredProfiles } from '#runtime-service/index.ts';
import { isKeptByInit } from '../activation.ts';
import { IdMapping } from '../id-mapping.ts';
import { imageOptions, pauseProgram, runtimeOptions } from '../options.ts';
import { selinuxDefaults } from '../selinux.ts';
import { type SocketState, socketState } from '../socket.ts';
import { type AddressFile, addressFiles, idsInUse } from './address-files.ts';
import { type DiskFeatures, diskFeatures } from './disk-features.ts';
import { type NetworkFile, networkFiles, usedNetworks } from './network-files.ts';
import { type NriPlaces, nriPlaces } from './nri.ts';
import { type PodNetwork, podNetworkOf } from './pod-network.ts';
import { type PortState, portState } from './ports.ts';
import { type FoundRuntime, foundRuntimes, programOutput, programVersion } from './runtimes.ts';

export type { SocketState } from '../socket.ts';
export type { DiskFeatures } from './disk-features.ts';
export type { FoundRuntime } from './runtimes.ts';

export interface FoundSelinux extends SelinuxStatus {
  /** The context of containers without their categories. */
  readonly process?: string | undefined;
  readonly problem?: unknown;
}

/** A node, with places below the root and state directories for probes; nothing of them is left at the end of the scope. */
export class Node implements AsyncDisposable {
  readonly config: Config;
  readonly release = release();
  #places: Promise<{ readonly disk: string; readonly memory: string }> | undefined;

  constructor(config: Config) {
    this.config = config;
  }

  /** The text of a file, trimmed; undefined where it cannot be read. */
  text(path: string): string | undefined {
    try {
      return readFileSync(path, 'utf8').trim();
    } catch {
      return undefined;
    }
  }

  /** The names in a directory, sorted; none where it cannot be read. */
  entries(directory: string): string[] {
    try {
      return readdirSync(directory).sort();
    } catch {
      return [];
    }
  }

  /** The running processes of a program, by its name; not those of pods, which have a pid namespace of their own. */
  commandLines(program: string): { readonly pid: number; readonly argv: readonly string[] }[] {
    const own = namespaceOf('self');
    return this.entries('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((name) => ({ pid: Number(name), argv: (this.text(`/proc/${name}/cmdline`) ?? '').split('\0') }))
      .filter(({ pid, argv: [path = ''] }) => basename(path) === program && namespaceOf(`${pid}`) === own);
  }

  exists(path: string): boolean {
    return existsSync(path);
  }

  /** What will hold the path: itself, or the nearest directory above it that exists. */
  existing(path: string): string {
    return existsSync(path) || path === '/' ? path : this.existing(dirname(path));
  }

  async statfs(path: string): ReturnType<typeof files.statfs> {
    return await files.statfs(this.existing(path));
  }

  /** The mount that holds the path. */
  mountOf(path: string): MountEntry | undefined {
    const at = this.existing(path);
    const isAbove = ({ target }: MountEntry) =>
      at === target || at.startsWith(target === '/' ? '/' : `${target}/`);
    return readMounts()
      .filter(isAbove)
      .reduce<MountEntry | undefined>(
        (best, one) => (best && best.target.length > one.target.length ? best : one),
        undefined,
      );
  }

  /** Throws FailedPrecondition where no hierarchy is mounted. */
  cgroups(): Pick<Cgroups, 'version' | 'controllers' | 'file' | 'directories'> {
    return openCgroups();
  }

  get isSystemd(): boolean {
    return existsSync('/run/systemd/system');
  }

  get hasSeccompLibrary(): boolean {
    return openSeccomp() !== undefined;
  }

  /** The pid of the daemon that holds the root directory; undefined where none does. */
  get daemon(): number | undefined {
    const pid = Number(this.text(join(this.config.root, 'lock')));
    return Number.isInteger(pid) && pid > 0 && existsSync(`/proc/${pid}`) ? pid : undefined;
  }

  /** Mounts an overlay of `layers` lower layers with its writable layer on the disk of the root directory. Throws. */
  async tryOverlay(layers: number): Promise<void> {
    const { disk } = await this.#place();
    const at = await mkdtemp(join(disk, 'overlay-'));
    const [upper, work, target] = [join(at, 'upper'), join(at, 'work'), join(at, 'merged')];
    const lower = Array.from({ length: layers }, (_, n) => join(at, `${n}`));
    for (const path of [upper, work, target, ...lower]) await mkdir(path);
    try {
      await mounts.overlay({ target, lower, upper, work });
    } finally {
      await mounts.unmount(target);
      await rm(at, { recursive: true, force: true });
    }
  }

  /** Which form new layers get, by a trial; throws where the configuration demands what is not possible. */
  async layerForm(): Promise<LayerForm> {
    const { disk, memory } = await this.#place();
    const options = { ...imageOptions(this.config), root: disk, state: memory };
    return await probeLayerForm(options, { mounts, files }, new Operation('check', { log: silentLog }));
  }

  /** Why pods cannot have user namespaces on this node; undefined where they can. */
  async whyNoIdMapping(): Promise<string | undefined> {
    const { disk, memory } = await this.#place();
    const kernel = await openKernel({ pauseProgram: pauseProgram(this.config) });
    try {
      await using mapping = new IdMapping(kernel, disk, join(memory, 'mapping'), silentLog);
      return await mapping.probe();
    } finally {
      await kernel.close();
    }
  }

  /** What the file system of the root directory can do. */
  async disk(): Promise<DiskFeatures> {
    return diskFeatures((await this.#place()).disk);
  }

  /** Whether the kernel has AppArmor, the profiles that the configuration requires, and those of them that it lacks. */
  apparmor(): {
    readonly isEnabled: boolean;
    readonly wanted: readonly ConfiguredProfile[];
    readonly missing: readonly ConfiguredProfile[];
  } {
    const kernel = new AppArmorKernel();
    const wanted = configuredProfiles(runtimeOptions(this.config));
    const missing = wanted.filter(({ profile }) => !kernel.knows(profile));
    return { isEnabled: kernel.isEnabled, wanted, missing };
  }

  /** The OCI runtimes of the configuration, and the two that need none. */
  runtimes(signal: AbortSignal): Promise<readonly FoundRuntime[]> {
    return foundRuntimes(this.config, signal);
  }

  /** SELinux of the node, and why pods get no labels although it is enabled; undefined where it is not. */
  async selinux(): Promise<FoundSelinux | undefined> {
    await using kernel = new RealSelinux();
    const status = kernel.status();
    if (!status) return undefined;
    try {
      const wanted = { ...this.config.selinux, mode: 'on' } as const;
      return { ...status, process: (await selinuxDefaults(wanted, kernel, silentLog))?.process };
    } catch (error) {
      return { ...status, problem: error };
    }
  }

  /** Path and the first line of `--version` of a program of the node. Throws NotFound, or with what it says. */
  program(name: string, signal: AbortSignal): Promise<{ readonly path: string; readonly version: string }> {
    return programVersion(name, signal);
  }

  get pauseProgram(): string {
    return pauseProgram(this.config);
  }

  /** The networks that pods get, those of handlers with a directory of their own last. Throws NetworkFailed as RunPodSandbox would. */
  networks(): Promise<readonly NetworkConfig[]> {
    return usedNetworks(this.config);
  }

  /** All files of the directory of CNI configurations, by name. */
  networkFiles(): Promise<readonly NetworkFile[]> {
    return networkFiles(this.config.cni.confDir);
  }

  /** What the networks that pods get mean for the node; none where they cannot be used. */
  async podNetworks(): Promise<readonly PodNetwork[]> {
    const networks = await this.networks().catch(() => []);
    return networks.map((network) => podNetworkOf(network, (path) => this.text(path)));
  }

  /** That of eth0. */
  async podNetwork(): Promise<PodNetwork | undefined> {
    return (await this.podNetworks())[0];
  }

  /** Whether crisp makes it without executing the plugins. */
  makesItself({ config }: PodNetwork): boolean {
    return isInProcess(this.config.cni.native, { config, capabilities: {} });
  }

  /** The links, addresses and routes of this network namespace. */
  nodeNetwork(): NodeNetwork {
    return readNodeNetwork();
  }

  get hasNfTables(): boolean {
    return hasNfTables();
  }

  /** What host-local keeps in a directory. */
  addressFiles(directory: string): readonly AddressFile[] {
    return addressFiles(directory);
  }

  /** Ids of pods: those that live, of whichever runtime, and those that crisp has records of. */
  podIds(): ReadonlySet<string> {
    const { root, state } = this.config;
    const directories = [join(root, 'sandboxes'), join(root, 'leaks/sandboxes'), join(state, 'sandboxes')];
    return new Set([...idsInUse(), ...directories.flatMap((directory) => this.entries(directory))]);
  }

  /** The output of a program of the node; undefined where it is missing. Throws with what it says where it fails. */
  output(name: string, words: readonly string[], signal: AbortSignal): Promise<string | undefined> {
    return programOutput(name, words, signal);
  }

  /** `activated`: systemd listens there, and a connection would start the daemon. */
  async socket(path: string): Promise<SocketState | 'activated'> {
    return this.isSystemd && isKeptByInit(path) ? 'activated' : await socketState(path);
  }

  nri(): NriPlaces {
    return nriPlaces(this.config.nri);
  }

  /** Of a TCP address of the configuration. */
  port(address: string): Promise<PortState> {
    return portState(address);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const places = await this.#places?.catch(() => undefined);
    for (const path of Object.values(places ?? {})) await files.removeTree(path);
  }

  #place(): Promise<{ readonly disk: string; readonly memory: string }> {
    this.#places ??= (async () => ({
      disk: await mkdtemp(join(this.existing(this.config.root), '.crisp-check-')),
      memory: await mkdtemp(join(this.existing(this.config.state), '.crisp-check-')),
    }))();
    return this.#places;
  }
}

/** The pid namespace of a process; undefined where it has ended. */
function namespaceOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined;
  }
}
