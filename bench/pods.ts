/** The pods and containers of the bench: the same requests to both sides. */
import { join } from 'node:path';
import type { CriClient } from '#api/cri/v1/client.ts';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import type { BenchEnvironment, Side } from './sides.ts';

/** In seconds; the container exits at SIGTERM long before. */
const GRACE_SECONDS = fromBigInt(10n);
/** Exits at once at SIGTERM, also as PID 1. */
const COMMAND = ['sh', '-c', 'trap "exit 0" TERM; sleep 100000 & wait'];

export class Pods {
  readonly #environment: BenchEnvironment;
  readonly #image: string;
  #count = 0;

  constructor(environment: BenchEnvironment) {
    this.#environment = environment;
    this.#image = `${environment.registry}/bench/busybox:1`;
  }

  async pull(side: Side): Promise<void> {
    await side.server.client.PullImage({ image: { image: this.#image } });
  }

  sandboxConfig(side: Side): cri.PodSandboxConfigInit {
    const name = `pod-${++this.#count}`;
    return {
      metadata: { name, uid: `uid-${name}`, namespace: 'bench', attempt: 0 },
      hostname: name,
      logDirectory: join(this.#environment.directory, 'logs', side.name, name),
      dnsConfig: { servers: ['10.0.0.10'], searches: ['default.svc.cluster.local'], options: ['ndots:5'] },
      labels: { app: 'bench' },
      linux: {
        cgroupParent: `${this.#environment.cgroup}/pods-${side.name}/${name}`,
        securityContext: {
          namespaceOptions: {
            network: cri.NamespaceMode.POD,
            pid: cri.NamespaceMode.CONTAINER,
            ipc: cri.NamespaceMode.POD,
          },
          seccomp: { profileType: cri.SecurityProfile.ProfileType.RuntimeDefault },
        },
      },
    };
  }

  containerConfig(name = 'main'): cri.ContainerConfigInit {
    return {
      metadata: { name, attempt: 0 },
      // As the kubelet does; CRI-O refuses a container without it.
      image: { image: this.#image, userSpecifiedImage: this.#image },
      command: COMMAND,
      logPath: `${name}.log`,
      labels: { app: 'bench' },
      linux: {
        resources: { cpuShares: fromBigInt(100n), memoryLimitInBytes: fromBigInt(64n << 20n) },
        securityContext: { seccomp: { profileType: cri.SecurityProfile.ProfileType.RuntimeDefault } },
      },
    };
  }

  /** A pod with its running container, or with several. */
  async run(side: Side, names: readonly string[] = ['main']): Promise<string> {
    const { client } = side.server;
    const sandboxConfig = this.sandboxConfig(side);
    const { podSandboxId } = await client.RunPodSandbox({ config: sandboxConfig });
    for (const name of names) {
      const config = this.containerConfig(name);
      const { containerId } = await client.CreateContainer({ podSandboxId, config, sandboxConfig });
      await client.StartContainer({ containerId });
    }
    return podSandboxId;
  }
}

export const stopContainer = (side: Side, containerId: string): Promise<object> =>
  side.server.client.StopContainer({ containerId, timeout: GRACE_SECONDS });

export async function removePod(side: Side, podSandboxId: string): Promise<void> {
  const { client } = side.server;
  await client.StopPodSandbox({ podSandboxId });
  await client.RemovePodSandbox({ podSandboxId });
}

/** Has so many pods on each side while `act` runs, with these containers; removes them afterwards. */
export async function withPods(
  sides: readonly Side[],
  pods: Pods,
  {
    count,
    width,
    names,
  }: { readonly count: number; readonly width: number; readonly names?: readonly string[] },
  act: () => Promise<void>,
): Promise<void> {
  const created: { readonly side: Side; readonly id: string }[] = [];
  const wanted = sides.flatMap((side) => Array.from({ length: count }, () => side));
  try {
    await inParallel(wanted, width, async (side) => {
      created.push({ side, id: await pods.run(side, names) });
    });
    await act();
  } finally {
    await inParallel(created, width, ({ side, id }) => removePod(side, id));
  }
}

/** Runs `act` for each item, `width` at a time; results are in the order of completion. */
export async function inParallel<T, R>(
  items: readonly T[],
  width: number,
  act: (item: T) => Promise<R>,
): Promise<R[]> {
  const remaining = [...items];
  const results: R[] = [];
  const worker = async (): Promise<void> => {
    for (let item = remaining.shift(); item !== undefined; item = remaining.shift())
      results.push(await act(item));
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}

/** Whether a daemon lists so many pods as ready, and so many containers as running. */
export const allRunning =
  (pods: number, running: number) =>
  async (client: CriClient): Promise<boolean> => {
    const [{ items }, { containers }] = [await client.ListPodSandbox({}), await client.ListContainers({})];
    const ready = items.filter(({ state }) => state === cri.PodSandboxState.SANDBOX_READY);
    const live = containers.filter(({ state }) => state === cri.ContainerState.CONTAINER_RUNNING);
    return ready.length === pods && live.length === running;
  };
