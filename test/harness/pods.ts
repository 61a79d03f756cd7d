/**
 * A node for end-to-end tests: docker-registry, a crisp daemon and its CRI socket, with helpers to create pods and
 * containers and to check what they leave behind.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import test, { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CriClient } from '#api/cri/v1/client.ts';
import { cri, fromBigInt, toBigInt } from '#api/cri/v1/index.ts';
import { type Registry, startRegistry } from '../image-service/registry.ts';
import { bridgeOf, type DaemonSettings, startDaemon, type TestDaemon } from './daemon.ts';
import { type BuiltImage, busyboxImage, pushImage } from './images.ts';
import { endProcesses } from './processes.ts';

export const NODE = cri.NamespaceMode.NODE;
export const POD = cri.NamespaceMode.POD;
export const CONTAINER = cri.NamespaceMode.CONTAINER;
export const TARGET = cri.NamespaceMode.TARGET;
export const {
  CONTAINER_CREATED: CREATED,
  CONTAINER_RUNNING: RUNNING,
  CONTAINER_EXITED: EXITED,
} = cri.ContainerState;

/** On a machine that is busy with other runs a command alone may take half a minute to start. */
const WAIT_MS = 120_000;
const BRIDGE_SUBNET = 7;

/** Waits until `probe` returns a truthy value; fails with the name after two minutes. */
export async function until<T>(what: string, probe: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (const limit = Date.now() + WAIT_MS; Date.now() < limit; await sleep(10)) {
    const found = await probe();
    if (found) return found;
  }
  throw new Error(`${what}: not reached within ${WAIT_MS / 1000} s`);
}

export const busy = ['sleep', '1000'];
/** Runs until SIGTERM, and then exits with 0. */
export const polite = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.05; done'];

export interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

type ContainerChanges = Partial<cri.ContainerConfigInit> & {
  readonly security?: cri.LinuxContainerSecurityContextInit;
  readonly resources?: cri.LinuxContainerResourcesInit;
};

export type Settings = Partial<Omit<DaemonSettings, 'directory' | 'cgroup' | 'registries'>> & {
  /** Gets the daemon's directory before the daemon starts. */
  readonly prepare?: (directory: string) => void;
  /** Returns TOML for the end of the configuration. */
  readonly configure?: (directory: string) => string;
};

export class TestNode implements AsyncDisposable {
  readonly directory: string;
  readonly cgroup: string;
  readonly registry: Registry;
  /** Id of the pulled busybox image. */
  image = '';
  #daemon: TestDaemon;
  #count = 0;
  readonly #settings: DaemonSettings;
  readonly #configs = new Map<string, cri.PodSandboxConfigInit>();

  private constructor(directory: string, registry: Registry, settings: DaemonSettings, daemon: TestDaemon) {
    this.directory = directory;
    this.cgroup = settings.cgroup;
    this.registry = registry;
    this.#settings = settings;
    this.#daemon = daemon;
  }

  static async start(name: string, { prepare, configure, ...more }: Settings = {}): Promise<TestNode> {
    const base = process.env['CRISP_TEST_DIR'];
    const prefix = process.env['CRISP_TEST_CGROUP'];
    if (!base || !prefix)
      throw new Error('run this with test/run.ts: it creates the namespaces and sets CRISP_TEST_*');
    const directory = mkdtempSync(join(base, `${name}-`));
    const registry = await startRegistry(join(directory, 'registry'));
    const cgroup = `${prefix}/${name}-${randomBytes(3).toString('hex')}`;
    const registries = { [registry.host]: [] };
    const settings = {
      directory: join(directory, 'crisp'),
      cgroup,
      registries,
      subnet: BRIDGE_SUBNET,
      ...more,
    };
    prepare?.(settings.directory);
    const extra = configure?.(settings.directory);
    const all = extra === undefined ? settings : { ...settings, extra };
    const node = new TestNode(directory, registry, all, await startDaemon(all));
    node.image = await node.addImage('busybox');
    return node;
  }

  get client(): CriClient {
    return this.#daemon.client;
  }

  get daemon(): TestDaemon {
    return this.#daemon;
  }

  get settings(): DaemonSettings {
    return this.#settings;
  }

  /** Starts a new daemon with the same directories. */
  async restart(end: 'stop' | 'kill', whileDown: () => Promise<void> = async () => {}): Promise<void> {
    if (end === 'stop') assert.equal(await this.#daemon.stop(), 0);
    else await this.#daemon.kill();
    await whileDown();
    this.#daemon = await startDaemon(this.#settings);
  }

  /** Waits until the root directory has the newest records: newer ones are in the state directory for a while. */
  recorded(): Promise<boolean> {
    const newer = join(this.#settings.directory, 'state/records/*/*/[!.]*');
    return until('the disk has all records', () => globSync(newer).length === 0);
  }

  /** Pushes an image to the registry and pulls it; its id. */
  async addImage(name: string, image: BuiltImage = busyboxImage()): Promise<string> {
    await pushImage(this.registry.url, name, 'latest', image);
    const { imageRef } = await this.client.PullImage({ image: { image: `${this.registry.host}/${name}` } });
    return imageRef;
  }

  /** With the host network by default: such a pod needs no plugins. */
  podConfig(
    changes: cri.PodSandboxConfigInit = {},
    namespaces: cri.NamespaceOptionInit = {},
  ): cri.PodSandboxConfigInit {
    const name = `pod-${++this.#count}`;
    const namespaceOptions = { network: NODE, pid: CONTAINER, ipc: POD, ...namespaces };
    return {
      metadata: { name, uid: `uid-${name}`, namespace: 'default', attempt: 0 },
      hostname: name,
      logDirectory: join(this.directory, 'logs', name),
      linux: { securityContext: { namespaceOptions } },
      ...changes,
    };
  }

  async runPod(
    changes: cri.PodSandboxConfigInit = {},
    namespaces: cri.NamespaceOptionInit = {},
  ): Promise<string> {
    const config = this.podConfig(changes, namespaces);
    const { podSandboxId } = await this.client.RunPodSandbox({ config });
    this.#configs.set(podSandboxId, config);
    return podSandboxId;
  }

  containerConfig({ security, resources, ...changes }: ContainerChanges = {}): cri.ContainerConfigInit {
    const name = `ctr-${++this.#count}`;
    const linux = { securityContext: security ?? {}, resources: resources ?? {} };
    const defaults = {
      metadata: { name, attempt: 0 },
      image: { image: this.image },
      command: busy,
      logPath: `${name}/0.log`,
    };
    return { ...defaults, ...(security || resources ? { linux } : {}), ...changes };
  }

  async create(pod: string, changes: ContainerChanges = {}): Promise<string> {
    const config = this.containerConfig(changes);
    const sandboxConfig = this.#configs.get(pod) ?? {};
    return (await this.client.CreateContainer({ podSandboxId: pod, config, sandboxConfig })).containerId;
  }

  /** Creates and starts. */
  async run(pod: string, changes: ContainerChanges = {}): Promise<string> {
    const containerId = await this.create(pod, changes);
    await this.client.StartContainer({ containerId });
    if (changes.command === polite) await this.handlesSigterm(containerId);
    return containerId;
  }

  /**
   * Waits until the container's program, a shell, has a handler for SIGTERM: as PID 1 it ignores the signal before.
   * Until its exec the process is the OCI runtime's, and Go has a handler for every signal.
   */
  async handlesSigterm(containerId: string): Promise<void> {
    const { pid } = await this.facts(containerId);
    const caught = () => /^SigCgt:\s*(\w+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
    const isShell = () => readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('sh\0');
    await until('SIGTERM is handled', () => isShell() && ((BigInt(`0x${caught()}`) >> 14n) & 1n) === 1n);
  }

  /** Creates, starts and removes a container; resolves to output and exit code. */
  async output(pod: string, command: string[], changes: ContainerChanges = {}): Promise<Result> {
    const id = await this.run(pod, { command, ...changes });
    const { exitCode } = await this.exited(id);
    const lines = await this.logLines(id);
    await this.client.RemoveContainer({ containerId: id });
    const of = (stream: string) =>
      lines
        .filter((line) => line.stream === stream)
        .map(({ text }) => text)
        .join('\n');
    return { code: exitCode, out: of('stdout'), err: of('stderr') };
  }

  async status(containerId: string): Promise<cri.ContainerStatus> {
    const { status } = await this.client.ContainerStatus({ containerId });
    assert.ok(status);
    return status;
  }

  exited(id: string): Promise<cri.ContainerStatus> {
    return until(`container ${id} is EXITED`, async () => {
      const status = await this.status(id);
      return status.state === EXITED ? status : undefined;
    });
  }

  async exec(containerId: string, cmd: string[], timeout = 20): Promise<Result> {
    const reply = await this.client.ExecSync({ containerId, cmd, timeout: fromBigInt(BigInt(timeout)) });
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
    return { code: reply.exitCode, out: text(reply.stdout), err: text(reply.stderr) };
  }

  async stop(containerId: string, timeout = 0): Promise<void> {
    await this.client.StopContainer({ containerId, timeout: fromBigInt(BigInt(timeout)) });
  }

  remove(containerId: string): Promise<object> {
    return this.client.RemoveContainer({ containerId });
  }

  async logPath(id: string): Promise<string> {
    return (await this.status(id)).logPath;
  }

  async logLines(id: string): Promise<{ stream: string; tag: string; text: string }[]> {
    const text = readFileSync(await this.logPath(id), 'utf8');
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => {
        const [, stream = '', tag = '', ...rest] = line.split(' ');
        return { stream, tag, text: rest.join(' ') };
      });
  }

  /** The verbose status of a container. */
  async facts(containerId: string): Promise<{ pid: number; cgroup: string }> {
    const { info } = await this.client.ContainerStatus({ containerId, verbose: true });
    return JSON.parse(info['info'] ?? '{}');
  }

  /** Removes all pods with their containers. */
  async removePods(): Promise<void> {
    const { items } = await this.client.ListPodSandbox({});
    for (const { id } of items) {
      await this.client.StopPodSandbox({ podSandboxId: id });
      await this.client.RemovePodSandbox({ podSandboxId: id });
    }
  }

  /** All that pods may leave behind (layers of images may stay mounted without them): mounts, processes, cgroups, records, addresses, packet filter rules. */
  leftovers(): string[] {
    const { directory } = this.#settings;
    const list = (path: string) =>
      existsSync(path) ? readdirSync(path).map((name) => join(path, name)) : [];
    const mounts = readFileSync(`/proc/${this.#daemon.pid}/mountinfo`).toString().split('\n');
    const rules = ['-t nat -S', '-t filter -S'].flatMap((args) =>
      spawnSync('iptables', args.split(' '), { encoding: 'utf8' }).stdout.split('\n'),
    );
    return [
      ...mounts
        .filter((line) => line.includes(`${directory}/`) && !line.includes(' tmpfs test-disk '))
        // By the mount point: an overlay's line names its layers, too. The state may be elsewhere, behind a link.
        .filter((line) => !line.split(' ')[4]?.includes('/state/images/layers'))
        .map((line) => `mount ${line}`),
      ...processesWith(directory).filter((line) => !line.startsWith(`${this.#daemon.pid} `)),
      ...this.groups().map((group) => `cgroup ${group}`),
      ...['root/containers', 'root/sandboxes', 'state/containers', 'state/sandboxes', 'state/exits'].flatMap(
        (path) => list(join(directory, path)),
      ),
      ...list(join(directory, 'state/oci')).flatMap(list),
      ...globSync(`${directory}/cni/ipam/**/*.*.*.*`),
      ...rules.filter((rule) => /comment.*crisp-test|-j CNI-[0-9a-f]|10\.234\.\d+\.\d+\/32/.test(rule)),
    ];
  }

  /** Cgroups below the daemon's own, in every hierarchy. */
  groups(): string[] {
    return globSync([`/sys/fs/cgroup${this.cgroup}/**/`, `/sys/fs/cgroup/*${this.cgroup}/**/`])
      .map((path) => path.replace(/\/$/, ''))
      .filter((path) => !path.endsWith(this.cgroup));
  }

  /** The processes of a cgroup and its descendants, in any hierarchy; none if it does not exist. */
  processesIn(cgroup: string): number[] {
    const groups = globSync([`/sys/fs/cgroup${cgroup}/`, `/sys/fs/cgroup/*${cgroup}/`]);
    const files = groups.flatMap((group) => globSync([`${group}/cgroup.procs`, `${group}/**/cgroup.procs`]));
    return [...new Set(files.flatMap((file) => readIfPresent(file).split('\n').filter(Boolean).map(Number)))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.removePods().catch(() => {});
    await this.#daemon.stop();
    // After a failed test something may remain: it must not outlive the test file.
    await until('the processes of the pods are gone', () => {
      const pids = this.processesIn(this.cgroup);
      endProcesses(pids);
      return pids.length === 0;
    }).catch(() => {});
    for (const group of this.groups().toReversed()) removeGroup(group);
    for (const path of globSync([`/sys/fs/cgroup${this.cgroup}`, `/sys/fs/cgroup/*${this.cgroup}`]))
      removeGroup(path);
    await this.registry[Symbol.asyncDispose]();
    spawnSync('ip', ['link', 'delete', bridgeOf(BRIDGE_SUBNET)]);
    // The daemon has removed its own cgroup; the parent that the test files of a run share is removed by the last one.
    const shared = dirname(this.cgroup);
    for (const path of globSync([`/sys/fs/cgroup${shared}`, `/sys/fs/cgroup/*${shared}`])) removeGroup(path);
    for (const line of readFileSync('/proc/self/mountinfo').toString().split('\n').toReversed()) {
      const target = line.split(' ')[4] ?? '';
      if (target.startsWith(`${this.directory}/`)) spawnSync('umount', ['-l', target]);
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Reads a file that may be removed at any time, or is not there yet; then an empty text. */
export function readIfPresent(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function removeGroup(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Already removed, or in use by another test.
  }
}

/** Processes with the text in their arguments, as `pid arguments`. */
export function processesWith(text: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const line = `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()}`;
        return line.includes(text) ? [line] : [];
      } catch {
        return [];
      }
    });
}

/** A directory for the test. */
export function makeDirectory(node: TestNode, name: string): string {
  const path = join(node.directory, name);
  mkdirSync(path, { recursive: true });
  return path;
}

export const nanoseconds = (value: Parameters<typeof toBigInt>[0]): bigint => toBigInt(value);

/** The call fails with this code, and its message matches. */
export async function refused(call: Promise<unknown>, code: string, text = /./): Promise<void> {
  await assert.rejects(call, (error: unknown) => {
    const { code: got, message } = error as { code: string; message: string };
    assert.equal(got, code, message);
    assert.match(message, text);
    return true;
  });
}

/** The last test of a file: removes all pods, and checks that nothing is left behind. */
export function endsClean(node: TestNode): void {
  test('after the removal of all pods nothing is left behind', async () => {
    await node.removePods();
    // A daemon that was restarted shortly before still tries what the kernel can map.
    await until(
      'the probe has ended',
      () => !node.leftovers().some((left) => left.includes('/state/probe/')),
    );
    assert.deepEqual(node.leftovers(), []);
  });
  after(() => node[Symbol.asyncDispose]());
}
