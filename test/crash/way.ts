/** The demo's way as steps that can be interrupted and retried, and what was reported to clients. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CriClient } from '#api/cri/v1/client.ts';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { until } from '#test/harness/pods.ts';
import type { CrashStand } from './stand.ts';

const WAIT_MS = 30_000;
const HOST_PORT = 12_480;

export interface KnownPod {
  readonly id: string;
  readonly ip: string;
}

/** A running container, with the processes that must stay the same. */
export interface KnownContainer {
  readonly id: string;
  readonly pod: string;
  readonly startedAt: string;
  readonly pids: readonly number[];
}

export class Way {
  readonly name: string;
  readonly #stand: CrashStand;
  readonly #port: number;
  readonly #attempts = new Map<string, number>();
  pod: string | undefined;
  readonly containers = new Map<string, string>();
  attempt = 0;

  /** `slot`: ways that live at the same time need different ones. */
  constructor(stand: CrashStand, slot = 0) {
    this.#stand = stand;
    this.name = `pod-${slot}-${randomBytes(3).toString('hex')}`;
    this.#port = HOST_PORT + slot;
  }

  get #client(): CriClient {
    return this.#stand.daemon.client;
  }

  get podConfig(): cri.PodSandboxConfig {
    return cri.PodSandboxConfig.fromObject({
      metadata: { name: this.name, uid: this.name, namespace: 'crash', attempt: this.attempt },
      hostname: this.name,
      logDirectory: `${this.#stand.directory}/logs/${this.name}`,
      dnsConfig: { servers: ['10.0.0.10'] },
      portMappings: [{ protocol: 'TCP', containerPort: 80, hostPort: this.#port }],
      labels: { app: this.name },
      linux: { securityContext: { namespaceOptions: { network: 'POD', pid: 'CONTAINER' } } },
    });
  }

  async pull(): Promise<void> {
    await this.#client.PullImage({ image: { image: this.#stand.image } });
  }

  async runPod(): Promise<void> {
    const { podSandboxId } = await this.#client.RunPodSandbox({ config: this.podConfig });
    this.pod = podSandboxId;
  }

  /** Another attempt of this container: the kubelet's way on from one that has ended. */
  nextAttempt(name: string): void {
    this.#attempts.set(name, this.attemptOf(name) + 1);
  }

  attemptOf(name: string): number {
    return this.#attempts.get(name) ?? 0;
  }

  async create(name: string): Promise<void> {
    const { containerId } = await this.#client.CreateContainer({
      podSandboxId: this.pod ?? '',
      sandboxConfig: this.podConfig,
      config: {
        metadata: { name, attempt: this.attemptOf(name) },
        image: { image: this.#stand.image },
        command: ['/bin/sh', '-c', 'trap "exit 0" TERM; echo up; sleep 100000 & while :; do wait; done'],
        logPath: `${name}.log`,
        labels: { app: this.name },
      },
    });
    this.containers.set(name, containerId);
  }

  async start(name: string): Promise<void> {
    await this.#client.StartContainer({ containerId: this.containers.get(name) ?? '' });
  }

  async exec(name: string): Promise<void> {
    const request = {
      containerId: this.containers.get(name) ?? '',
      cmd: ['/bin/cat', '/etc/motd'],
      timeout: fromBigInt(20n),
    };
    const { exitCode, stdout } = await this.#client.ExecSync(request);
    assert.deepEqual([exitCode, Buffer.from(stdout).toString()], [0, 'crisp\n']);
  }

  async stop(name: string): Promise<void> {
    await this.#hasTrap(name);
    await this.#client.StopContainer({
      containerId: this.containers.get(name) ?? '',
      timeout: fromBigInt(10n),
    });
  }

  /** The kernel drops a SIGTERM for a container's first process until its shell has set the trap, which it does before it writes. */
  async #hasTrap(name: string): Promise<void> {
    const log = `${this.podConfig.logDirectory}/${name}.log`;
    await until(`'up' in ${log}`, async () => (await readFile(log, 'utf8')).includes('up') || undefined);
  }

  async remove(name: string): Promise<void> {
    await this.#client.RemoveContainer({ containerId: this.containers.get(name) ?? '' });
    this.containers.delete(name);
  }

  async stopPod(): Promise<void> {
    await this.#client.StopPodSandbox({ podSandboxId: this.pod ?? '' });
  }

  async removePod(): Promise<void> {
    await this.#client.RemovePodSandbox({ podSandboxId: this.pod ?? '' });
    this.pod = undefined;
    this.containers.clear();
  }

  async removeImage(): Promise<void> {
    await this.#client.RemoveImage({ image: { image: this.#stand.image } });
  }
}

/** What is reported of a ready pod now. */
export async function knownPod({ daemon }: CrashStand, id: string): Promise<KnownPod> {
  const { status } = await daemon.client.PodSandboxStatus({ podSandboxId: id });
  assert.equal(status?.state, cri.PodSandboxState.SANDBOX_READY);
  assert.match(status.network?.ip ?? '', /^10\.234\./);
  return { id, ip: status.network?.ip ?? '' };
}

/** What is reported of a running container now, and which processes it has. */
export async function knownContainer(stand: CrashStand, pod: string, id: string): Promise<KnownContainer> {
  const { status } = await stand.daemon.client.ContainerStatus({ containerId: id });
  assert.equal(status?.state, cri.ContainerState.CONTAINER_RUNNING);
  const pids = stand.kernel.cgroups.processes(`${stand.podGroup}/${pod}/${id}`);
  assert.notEqual(pids.length, 0);
  return { id, pod, startedAt: String(status.startedAt), pids: pids.toSorted() };
}

/** The very same pods and containers run on: at the first look, and listed. */
export async function runOn(
  stand: CrashStand,
  pods: readonly KnownPod[],
  containers: readonly KnownContainer[],
  where: string,
): Promise<void> {
  const { client } = stand.daemon;
  const listedPods = (await client.ListPodSandbox({})).items;
  for (const pod of pods) {
    const listed = listedPods.find(({ id }) => id === pod.id);
    assert.equal(listed?.state, cri.PodSandboxState.SANDBOX_READY, `${where}: pod ${pod.id}`);
    assert.deepEqual(await knownPod(stand, pod.id), pod, where);
  }
  const listedContainers = (await client.ListContainers({})).containers;
  for (const container of containers) {
    const listed = listedContainers.find(({ id }) => id === container.id);
    assert.equal(listed?.state, cri.ContainerState.CONTAINER_RUNNING, `${where}: container ${container.id}`);
    assert.equal(listed.podSandboxId, container.pod, where);
    const { pids, ...reported } = await knownContainer(stand, container.pod, container.id);
    const { pids: before, ...reportedBefore } = container;
    assert.deepEqual(reported, reportedBefore, where);
    // A shell forks: what was there must be there.
    assert.deepEqual(
      before.filter((pid) => !pids.includes(pid)),
      [],
      `${where}: processes of ${container.id}`,
    );
  }
}

/** Whatever is not known to be whole becomes NOTREADY or EXITED, or vanishes, and can then be removed by its id. */
export async function settled(stand: CrashStand, whole: ReadonlySet<string>, where: string): Promise<void> {
  const { client } = stand.daemon;
  const limit = Date.now() + WAIT_MS;
  for (;;) {
    const pods = (await client.ListPodSandbox({})).items;
    const ready = new Set(
      pods.filter(({ state }) => state === cri.PodSandboxState.SANDBOX_READY).map(({ id }) => id),
    );
    const { containers } = await client.ListContainers({});
    const odd = containers.filter(({ id, podSandboxId, state }) => {
      if (whole.has(id)) return false;
      return state === cri.ContainerState.CONTAINER_UNKNOWN || !pods.some((pod) => pod.id === podSandboxId);
    });
    if (
      odd.length === 0 &&
      [...whole].every((id) => ready.has(id) || containers.some((one) => one.id === id))
    )
      return;
    assert.ok(Date.now() < limit, `${where}: not settled: ${JSON.stringify(odd)}`);
    await sleep(20);
  }
}

/** Stops and removes all that is listed, as a kubelet's garbage collection does. Asks each twice. */
export async function removeAll(
  { daemon: { client } }: CrashStand,
  keep: ReadonlySet<string> = new Set(),
): Promise<void> {
  for (const { id, podSandboxId } of (await client.ListContainers({})).containers) {
    if (keep.has(podSandboxId)) continue;
    await client.StopContainer({ containerId: id, timeout: fromBigInt(0n) });
    await client.RemoveContainer({ containerId: id });
    await client.RemoveContainer({ containerId: id });
  }
  for (const { id } of (await client.ListPodSandbox({})).items) {
    if (keep.has(id)) continue;
    await client.StopPodSandbox({ podSandboxId: id });
    await client.StopPodSandbox({ podSandboxId: id });
    await client.RemovePodSandbox({ podSandboxId: id });
    await client.RemovePodSandbox({ podSandboxId: id });
  }
}
