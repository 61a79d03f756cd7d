/** A stand for daemons that are killed: one set of roots, one registry, one image, and the proof that nothing is left. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { silentLog } from '#core/operation.ts';
import { openKernel } from '#linux/index.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import { bridgeOf, startDaemon, type TestDaemon } from '../harness/daemon.ts';
import { busyboxImage, pushImage } from '../harness/images.ts';
import { type Registry, startRegistry } from '../image-service/registry.ts';
import {
  cgroupRoots,
  commandOf,
  deleteLink,
  flushPacketRules,
  packetRules,
  residueOfImages,
  residueOfPods,
  residueOfPulls,
  untilNone,
} from './residue.ts';

const PRELOAD = join(import.meta.dirname, 'preload.ts');

export class CrashStand implements AsyncDisposable {
  /** Holds all that the daemon writes. */
  readonly directory: string;
  readonly kernel: Kernel;
  readonly image: string;
  readonly subnet: number;
  readonly #base: string;
  readonly #cgroup: string;
  readonly #registry: Registry;
  #daemon: TestDaemon | undefined;
  #rules: readonly string[] = [];
  /** Where the present daemon's lines begin. */
  #logStart = 0;

  private constructor(base: string, cgroup: string, subnet: number, kernel: Kernel, registry: Registry) {
    this.#base = base;
    this.directory = join(base, 'd');
    this.#cgroup = cgroup;
    this.subnet = subnet;
    this.kernel = kernel;
    this.#registry = registry;
    this.image = `${registry.host}/busybox:1`;
  }

  /** `subnet`: third octet of the pods' addresses, another one for each file. */
  static async make(subnet: number): Promise<CrashStand> {
    const parent = process.env['CRISP_TEST_DIR'];
    const prefix = process.env['CRISP_TEST_CGROUP'];
    if (!parent || !prefix)
      throw new Error('run this through test/run.ts: it makes the namespaces and sets CRISP_TEST_*');
    const base = await mkdtemp(join(parent, 'crash-'));
    await chmod(base, 0o711); // the roots of pods with a user namespace pass through it
    const kernel = await openKernel({ log: silentLog });
    const registry = await startRegistry(join(base, 'registry'));
    const motd = { entries: [{ name: 'etc/motd', content: 'crisp\n' }] };
    await pushImage(registry.url, 'busybox', '1', busyboxImage({ layers: [motd] }));
    const stand = new CrashStand(
      base,
      `${prefix}/crash-${randomBytes(4).toString('hex')}`,
      subnet,
      kernel,
      registry,
    );
    await kernel.cgroups.create(stand.#daemonGroup);
    return stand;
  }

  /** Below it stand the pods. */
  get podGroup(): string {
    return `${this.#cgroup}/pods`;
  }

  /** In it stand the daemon and what it has started and not yet moved. */
  get #daemonGroup(): string {
    return `${this.#cgroup}/daemon`;
  }

  /** Of the daemons from now on. */
  network: 'auto' | 'exec' = 'auto';

  get daemon(): TestDaemon {
    if (!this.#daemon) throw new Error('no daemon runs');
    return this.#daemon;
  }

  /** A daemon on the same roots as those before; it must have ended. */
  async start(
    environment: Readonly<Record<string, string>> = {},
    network: 'auto' | 'exec' = this.network,
  ): Promise<TestDaemon> {
    this.network = network;
    const log = join(this.directory, 'daemon.log');
    this.#logStart = existsSync(log) ? readFileSync(log, 'utf8').length : 0;
    const groups = cgroupRoots().map((root) => root + this.#daemonGroup);
    this.#daemon = await startDaemon({
      directory: this.directory,
      cgroup: this.podGroup,
      subnet: this.subnet,
      network,
      registries: { [this.#registry.host]: [] },
      environment: {
        NODE_OPTIONS: `--import=${PRELOAD}`,
        CRISP_CRASH_AT: this.#crashAt,
        CRISP_CRASH_GROUPS: groups.filter((path) => existsSync(path)).join(':'),
        ...environment,
      },
    });
    return this.#daemon;
  }

  /** For a test that follows on one that failed. */
  async startIfDead(): Promise<void> {
    const alive =
      this.#daemon !== undefined && this.kernel.processes.reference(this.#daemon.pid) !== undefined;
    if (alive) return;
    this.disarm();
    await this.start();
  }

  /** Resolves when the present daemon has logged that it has recovered, or has died. */
  async recovered(): Promise<void> {
    const { pid, logFile } = this.daemon;
    const over = () =>
      readFileSync(logFile, 'utf8').slice(this.#logStart).includes('"recovered"') ||
      this.kernel.processes.reference(pid) === undefined;
    await untilNone('recovery', () => (over() ? [] : ['a daemon that has not recovered']));
  }

  get #crashAt(): string {
    return join(this.#base, 'crash-at');
  }

  /** Lets the daemon die when it passes the boundary next. */
  arm(boundary: string): void {
    writeFileSync(this.#crashAt, boundary);
  }

  /** Lets whatever comes to the boundary wait there. Returns a promise of the first that does. */
  hold(boundary: string): Promise<void> {
    rmSync(`${this.#crashAt}-held`, { force: true });
    writeFileSync(`${this.#crashAt}-hold`, boundary);
    const missing = () => (existsSync(`${this.#crashAt}-held`) ? [] : [`nothing has come to ${boundary}`]);
    return untilNone('hold', missing);
  }

  /** Whether the order had not been carried out. What is held goes on. */
  disarm(): boolean {
    const pending = existsSync(this.#crashAt);
    for (const path of [this.#crashAt, `${this.#crashAt}-hold`]) rmSync(path, { force: true });
    return pending;
  }

  /** To be called while there is no pod: what CNI plugins make once and keep is no pod's. */
  rememberRules(): void {
    this.#rules = packetRules();
  }

  /** Ends the daemon and all pods, and empties the roots, whatever is in them. */
  async reset(): Promise<void> {
    await this.#daemon?.kill();
    const { kernel, directory } = this;
    for (const group of [this.podGroup, this.#daemonGroup])
      await kernel.cgroups.kill(group, AbortSignal.timeout(10_000));
    await kernel.cgroups.remove(this.podGroup, AbortSignal.timeout(10_000));
    for (const { target } of kernel.mounts.below(directory).toReversed()) await kernel.mounts.unmount(target);
    await rm(directory, { recursive: true, force: true });
    flushPacketRules();
  }

  /** Nothing of a pod, a container, an unfinished pull, or (`images`) a finished one is there, or is still there soon. */
  async nothingLeft(where: string, { images }: { images: boolean }): Promise<void> {
    const { kernel, directory, podGroup } = this;
    await untilNone(where, () => [
      ...this.#orphans(),
      ...residueOfPods({ kernel, directory, podGroup, rules: this.#rules }),
      ...residueOfPulls(directory),
      ...(images ? residueOfImages({ kernel, directory }) : []),
    ]);
  }

  /** What a killed daemon had started and not handed over. */
  #orphans(): string[] {
    const pids = this.kernel.cgroups.processes(this.#daemonGroup).filter((pid) => pid !== this.#daemon?.pid);
    return pids.map((pid) => `process ${pid} ${commandOf(pid)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { kernel } = this;
    await this.reset();
    await kernel.cgroups.kill(this.#cgroup, AbortSignal.timeout(10_000));
    await kernel.cgroups.remove(this.#cgroup, AbortSignal.timeout(10_000));
    // The group that all tests of the run share goes with its last user.
    for (const root of cgroupRoots()) {
      try {
        rmdirSync(root + dirname(this.#cgroup));
      } catch {
        // Others use it, or it is not in this hierarchy.
      }
    }
    for (const { target } of kernel.mounts.below(this.#base).toReversed())
      await kernel.mounts.unmount(target);
    deleteLink(bridgeOf(this.subnet));
    await this.#registry[Symbol.asyncDispose]();
    await rm(this.#base, { recursive: true, force: true });
    await kernel.close();
  }
}
