/** A machine with crisp installed from its tarball, a registry, and short ways to make pods there. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CriClient, connectCri } from '#api/cri/v1/client.ts';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { REGISTRY } from './kit.ts';
import type { Machine } from './machine.ts';
import { Stages } from './stages.ts';

export const { SANDBOX_READY: READY, SANDBOX_NOTREADY: NOT_READY } = cri.PodSandboxState;
export const { CONTAINER_RUNNING: RUNNING, CONTAINER_EXITED: EXITED } = cri.ContainerState;
/** Generous: the machine is emulated, and this one is shared. */
const WAIT_MS = 10 * 60_000;
/** Between two probes. */
const PAUSE_MS = [200, 2000] as const;

/** Waits until `probe` gives something. What it waits for has most of the machine's one processor: a probe may run programs there. */
export async function until<T>(what: string, probe: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (const limit = Date.now() + WAIT_MS; Date.now() < limit; ) {
    const began = performance.now();
    const found = await probe();
    if (found) return found;
    const [least, most] = PAUSE_MS;
    await sleep(Math.min(most, Math.max(least, 3 * (performance.now() - began))));
  }
  throw new Error(`${what}: not so within ${WAIT_MS / 1000} s`);
}

export interface PodChanges {
  readonly cgroupParent?: string;
  readonly resources?: cri.LinuxContainerResourcesInit;
  readonly overhead?: cri.LinuxContainerResourcesInit;
  readonly securityContext?: cri.LinuxSandboxSecurityContextInit;
  readonly uid?: string;
  readonly runtimeHandler?: string;
}

export interface ContainerChanges {
  readonly image?: string;
  readonly command?: readonly string[];
  readonly resources?: cri.LinuxContainerResourcesInit;
  readonly mounts?: readonly cri.MountInit[];
  readonly capabilities?: readonly string[];
  readonly securityContext?: cri.LinuxContainerSecurityContextInit;
}

export class VirtualNode implements AsyncDisposable {
  readonly machine: Machine;
  readonly #directory: string;
  #client: CriClient | undefined;
  #count = 0;
  readonly #configs = new Map<string, cri.PodSandboxConfigInit>();

  private constructor(machine: Machine, directory: string) {
    this.machine = machine;
    this.#directory = directory;
  }

  /** A fresh machine with the kit in the home of its scripts; crisp is not installed yet. */
  static start(name: string): Promise<VirtualNode> {
    return VirtualNode.#start(name, (stages, directory) => stages.ready(directory));
  }

  /** The same with crisp installed and serving. */
  static installed(name: string): Promise<VirtualNode> {
    return VirtualNode.#start(name, (stages, directory) => stages.installed(directory));
  }

  /** The same with SELinux, permissive. */
  static labelled(name: string): Promise<VirtualNode> {
    return VirtualNode.#start(name, (stages, directory) => stages.labelled(directory));
  }

  /** The same on a kernel without IPv6. */
  static withoutIpv6(name: string): Promise<VirtualNode> {
    return VirtualNode.#start(name, (stages, directory) => stages.withoutIpv6(directory));
  }

  static async #start(
    name: string,
    stage: (stages: Stages, directory: string) => Promise<Machine>,
  ): Promise<VirtualNode> {
    const base = process.env['CRISP_TEST_DIR'];
    if (!base) throw new Error('run this through test/run.ts: it sets CRISP_TEST_DIR');
    const directory = mkdtempSync(join(base, `${name}-`));
    const stages = new Stages(join(base, 'node-kit'), stopwatch(name));
    return new VirtualNode(await stage(stages, directory), directory);
  }

  /** Runs a script in the machine that must succeed. */
  sh(script: string): Promise<string> {
    return this.machine.sh(script);
  }

  /** The lines of a script's output. */
  async lines(script: string): Promise<string[]> {
    return (await this.sh(script)).split('\n').filter(Boolean);
  }

  /** The daemon in the machine. */
  get client(): CriClient {
    this.#client ??= connectCri(`dns:127.0.0.1:${this.machine.criPort}`);
    return this.#client;
  }

  /** Waits until the daemon serves, over a new connection. */
  async serving(): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
    await until('crisp is active', async () => {
      const { output } = await this.machine.run('systemctl is-active crisp');
      assert.notEqual(output.trim(), 'failed', await this.log());
      return output.trim() === 'active';
    });
    await until('crisp replies', () =>
      this.client.Version({}, { timeoutMs: 10_000 }).then(
        () => true,
        () => false,
      ),
    );
  }

  /** A power cut, and the power's return. */
  async powerCut(): Promise<void> {
    await this.machine.cut();
    await this.up();
  }

  async reboot(): Promise<void> {
    await this.machine.off();
    await this.up();
  }

  /** Switches it on where it is off. */
  async up(): Promise<void> {
    if (!this.machine.isOn) await this.machine.boot();
    await this.serving();
  }

  /** What the daemon has logged since the boot. */
  log(): Promise<string> {
    return this.sh('journalctl -b -u crisp -o cat --no-pager | tail -n 40');
  }

  async pull(name: string, timeoutMs = WAIT_MS): Promise<string> {
    const image = { image: `${REGISTRY}/${name}` };
    return (await this.client.PullImage({ image }, { timeoutMs })).imageRef;
  }

  async runPod(changes: PodChanges = {}): Promise<string> {
    const name = `pod-${++this.#count}`;
    const { uid = `uid-${name}`, runtimeHandler = '', ...linux } = changes;
    const config: cri.PodSandboxConfigInit = {
      metadata: { name, uid, namespace: 'default', attempt: 0 },
      hostname: name,
      logDirectory: `/var/log/pods/${name}`,
      linux,
    };
    const { podSandboxId } = await this.client.RunPodSandbox({ config, runtimeHandler });
    this.#configs.set(podSandboxId, config);
    return podSandboxId;
  }

  /** Creates and starts a container of the busybox image. */
  async run(pod: string, changes: ContainerChanges = {}): Promise<string> {
    const { image = `${REGISTRY}/busybox`, command = ['sleep', '100000'], resources } = changes;
    const { mounts = [], capabilities: addCapabilities = [] } = changes;
    const name = `ctr-${++this.#count}`;
    const config: cri.ContainerConfigInit = {
      metadata: { name, attempt: 0 },
      image: { image },
      command,
      logPath: `${name}.log`,
      mounts,
      linux: {
        ...(resources ? { resources } : {}),
        securityContext: {
          seccomp: { profileType: 0 },
          capabilities: { addCapabilities },
          ...changes.securityContext,
        },
      },
    };
    const sandboxConfig = this.#configs.get(pod) ?? {};
    const { containerId } = await this.client.CreateContainer({ podSandboxId: pod, config, sandboxConfig });
    await this.client.StartContainer({ containerId });
    return containerId;
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

  async exec(containerId: string, cmd: readonly string[], timeout = 60): Promise<string> {
    const reply = await this.client.ExecSync({ containerId, cmd, timeout: fromBigInt(BigInt(timeout)) });
    assert.equal(reply.exitCode, 0, Buffer.from(reply.stderr).toString());
    return Buffer.from(reply.stdout).toString();
  }

  async pid(containerId: string): Promise<number> {
    const { info } = await this.client.ContainerStatus({ containerId, verbose: true });
    return (JSON.parse(info['info'] ?? '{}') as { pid: number }).pid;
  }

  async removePods(): Promise<void> {
    const { items } = await this.client.ListPodSandbox({});
    for (const { id } of items) {
      await this.client.StopPodSandbox({ podSandboxId: id });
      await this.client.RemovePodSandbox({ podSandboxId: id });
    }
  }

  /**
   * All that pods may leave behind in the machine, one in a line. The daemon's probes of iptables and of the kernel have network
   * namespaces for a moment: it is looked again while there are any.
   */
  async leftovers(): Promise<string[]> {
    for (const limit = Date.now() + WAIT_MS; ; await sleep(PAUSE_MS[1])) {
      const lines = await this.#leftovers();
      if (!lines.some((line) => line.startsWith('netns ')) || Date.now() > limit) return lines;
    }
  }

  #leftovers(): Promise<string[]> {
    return this.lines(`
      grep -E ' (/run|/var/lib)/crisp/' /proc/self/mountinfo | grep -v ' /run/crisp/images/layers' || true
      ls -d /run/crisp/{sandboxes,containers,exits}/* /var/lib/crisp/{sandboxes,containers}/* /run/crisp/oci/*/* 2>/dev/null || true
      find /sys/fs/cgroup -type d | grep -E '[0-9a-f]{64}|kubepods|/crisp/|/crisp.*\\.slice' || true
      systemctl list-units --all --plain --no-legend '*.scope' '*.slice' | grep -E '[0-9a-f]{64}|kubepods|^crisp' || true
      ip -o link | grep -E ': veth' || true
      ls /var/lib/cni/networks/crisp-bridge 2>/dev/null | grep '^[0-9]' || true
      lsns -t net -n -o NS,PID,COMMAND | grep -v ' 1 ' | sed 's/^ */netns /' || true
      iptables-save | grep -E 'CNI-[0-9a-f]|crisp-bridge' || true
      ps -eo pid,comm | grep -E ' (conmon|crun|runc|pause|sleep)$' || true`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client?.close();
    await this.machine[Symbol.asyncDispose]();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Prints a step's name with its seconds. */
export function stopwatch(name: string): (step: string) => void {
  let last = performance.now();
  return (step) => {
    const now = performance.now();
    console.log(`# ${name}: ${step} in ${((now - last) / 1000).toFixed(1)} s`);
    last = now;
  };
}
