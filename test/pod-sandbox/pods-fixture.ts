/**
 * A fixture for pods on real parts: its own directories, cgroup prefix, bridge and addresses, inside the private mount
 * and network namespaces that the test runner makes. `leftovers` lists all that a pod could leave behind.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Log, Operation, type OperationOptions, silentLog } from '#core/operation.ts';
import { openKernel } from '#linux/index.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import {
  allCapableHandlers,
  type ContainersOfPod,
  defaultLinux,
  noContainers,
  openPodSandboxes,
  type PodSandboxes,
  type PodSandboxOptions,
  type SandboxConfig,
} from '#pod-sandbox/index.ts';

const PLUGINS = '/usr/lib/cni';

export class PodsFixture implements AsyncDisposable {
  readonly directory: string;
  readonly kernel: Kernel;
  readonly options: PodSandboxOptions;
  readonly bridge = `c${randomBytes(4).toString('hex')}`;
  /** Pairs of links that the test itself has made. */
  readonly ownLinks = new Set<string>();
  readonly #services: PodSandboxes[] = [];
  #attempt = 0;

  private constructor(directory: string, kernel: Kernel, cgroupPrefix: string) {
    this.directory = directory;
    this.kernel = kernel;
    this.options = {
      root: join(directory, 'root'),
      state: join(directory, 'state'),
      handlers: { crun: { sandbox: 'pause' }, vm: { sandbox: 'runtime' } },
      cgroupDriver: 'cgroupfs',
      cgroupPrefix,
      network: {
        confDir: join(directory, 'net.d'),
        binDirs: [join(directory, 'plugins'), PLUGINS],
        environment: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin' },
      },
    };
  }

  static async make(): Promise<PodsFixture> {
    const base = process.env['CRISP_TEST_DIR'];
    const cgroup = process.env['CRISP_TEST_CGROUP'];
    if (!base || !cgroup)
      throw new Error('run this through test/run.ts: it makes the namespaces and sets CRISP_TEST_*');
    const directory = await mkdtemp(join(base, 'pods-'));
    const prefix = `${cgroup}/pods-${randomBytes(4).toString('hex')}`;
    const fixture = new PodsFixture(directory, await openKernel({ log: silentLog }), prefix);
    for (const name of ['root', 'state', 'net.d', 'plugins']) await mkdir(join(directory, name));
    await fixture.useNetwork();
    return fixture;
  }

  /** Writes the conflist: bridge with host-local, then the given plugins. */
  async useNetwork(more: readonly object[] = [], changes: object = {}, ofBridge: object = {}): Promise<void> {
    const ipam = {
      type: 'host-local',
      ranges: [[{ subnet: '10.251.0.0/24' }], [{ subnet: 'fd00:251::/64' }]],
      dataDir: join(this.directory, 'ipam'),
    };
    const bridge = { type: 'bridge', bridge: this.bridge, isGateway: true, ipam, ...ofBridge };
    const list = { cniVersion: '1.0.0', name: 'test', plugins: [bridge, ...more], ...changes };
    await writeFile(join(this.options.network.confDir, '10-test.conflist'), JSON.stringify(list));
  }

  /** A CNI plugin of our own: a shell script that gets the command as $CNI_COMMAND. */
  async plugin(type: string, script: string): Promise<void> {
    const path = join(this.directory, 'plugins', type);
    await writeFile(path, `#!/bin/sh\n${script}\n`);
    await chmod(path, 0o755);
  }

  async open(
    changes: Partial<PodSandboxOptions> = {},
    containers: ContainersOfPod = noContainers,
    log: Log = silentLog,
  ): Promise<PodSandboxes> {
    const options = { ...this.options, ...changes };
    const service = await openPodSandboxes(options, this.kernel, log, {
      containers,
      handlers: allCapableHandlers,
    });
    this.#services.push(service);
    return service;
  }

  config(changes: Partial<SandboxConfig> = {}): SandboxConfig {
    return {
      metadata: { name: 'pod', uid: 'uid', namespace: 'ns', attempt: this.#attempt++ },
      hostname: 'inside',
      logDirectory: '',
      dns: { servers: ['10.0.0.1'], searches: ['x.test'], options: [] },
      portMappings: [],
      labels: { a: 'b' },
      annotations: {},
      linux: defaultLinux,
      ...changes,
    };
  }

  operation(options: OperationOptions = {}): Operation {
    return new Operation('test', options);
  }

  /** Runs a program to its end and returns its output; a failure is an error. */
  async run(...argv: string[]): Promise<string> {
    const { PATH = '' } = this.options.network.environment;
    const output = await this.kernel.processes.run({ argv, env: { PATH } }, AbortSignal.timeout(30_000));
    if (output.status.code !== 0) throw new Error(`${argv.join(' ')}: ${output.stderr}`);
    return output.stdout.toString();
  }

  /** Addresses that host-local holds to be given out. */
  async addresses(): Promise<string[]> {
    const names = await readdir(join(this.directory, 'ipam/test')).catch(() => []);
    return names.filter((name) => /^[0-9a-f][0-9a-f.:]*[.:][0-9a-f.:]*$/.test(name));
  }

  async veths(): Promise<string[]> {
    const links: { ifname: string }[] = JSON.parse(
      await this.run('ip', '-j', 'link', 'show', 'type', 'veth'),
    );
    return links.map(({ ifname }) => ifname).filter((name) => !this.ownLinks.has(name));
  }

  /** Mounts, run directories, records, cgroups with their processes, addresses and links of pods. */
  async leftovers(): Promise<string[]> {
    const list = (path: string) => readdir(path).catch(() => [] as string[]);
    const { root, state, cgroupPrefix } = this.options;
    return [
      ...this.kernel.mounts.below(state).map(({ target }) => `mount ${target}`),
      ...(await list(join(state, 'sandboxes'))).map((name) => `directory ${name}`),
      ...(await list(join(root, 'sandboxes'))).map((name) => `record ${name}`),
      ...this.kernel.cgroups.processes(cgroupPrefix).map((pid) => `process ${pid}`),
      ...(await this.#cgroups()).map((path) => `cgroup ${path}`),
      ...(await this.addresses()).map((address) => `address ${address}`),
      ...(await this.#lastingVeths()).map((name) => `link ${name}`),
    ];
  }

  /** The kernel removes the links of an unreferenced namespace asynchronously. */
  async #lastingVeths(): Promise<string[]> {
    for (let tries = 0; tries < 100; tries++) {
      if ((await this.veths()).length === 0) return [];
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return this.veths();
  }

  /** Groups below the prefix, in every hierarchy that is mounted. */
  async #cgroups(): Promise<string[]> {
    const found: string[] = [];
    for (const root of await cgroupRoots()) {
      const base = join(root, this.options.cgroupPrefix);
      const entries = await readdir(base, { withFileTypes: true }).catch(() => []);
      for (const entry of entries) if (entry.isDirectory()) found.push(join(base, entry.name));
    }
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const op = this.operation();
    for (const service of this.#services) {
      for (const { id } of service.list()) await service.remove(id, op).catch(() => {});
      await service.close();
    }
    const { cgroupPrefix } = this.options;
    await this.kernel.cgroups.kill(cgroupPrefix, AbortSignal.timeout(10_000));
    await this.kernel.cgroups.remove(cgroupPrefix, AbortSignal.timeout(10_000));
    // The group that all tests of the run share goes with its last user.
    for (const root of await cgroupRoots()) await rmdir(join(root, dirname(cgroupPrefix))).catch(() => {});
    for (const { target } of this.kernel.mounts.below(this.directory).toReversed()) {
      await this.kernel.mounts.unmount(target);
    }
    await this.run('ip', 'link', 'delete', this.bridge).catch(() => {});
    await rm(this.directory, { recursive: true, force: true });
    await this.kernel.close();
  }
}

async function cgroupRoots(): Promise<string[]> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  return mounts.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    return after.startsWith('cgroup') ? [before.split(' ')[4] ?? ''] : [];
  });
}
