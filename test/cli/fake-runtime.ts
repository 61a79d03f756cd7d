/**
 * A CRI server in memory, for the tests of the command line: it stores requests and runs nothing. "Containers"
 * write their log when they start and end when they are stopped, or at once where their first argument is `exit`.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import {
  cri,
  fromBigInt,
  type ImageServiceHandlers,
  imageServiceDefinition,
  type RuntimeServiceHandlers,
  runtimeServiceDefinition,
  toBigInt,
} from '#api/cri/v1/index.ts';

interface Pod {
  config: cri.PodSandboxConfig;
  handler: string;
  state: number;
  createdAt: bigint;
}

interface Ctr {
  pod: string;
  config: cri.ContainerConfig;
  state: number;
  exitCode: number;
  logPath: string;
}

class RpcFailure extends Error {
  readonly code: status;
  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}

/** What crisp keeps of each operation on a pod. */
const STAGE = { name: 'network', detail: '', from: 0, to: 9, failed: false };
const TRACE = { name: 'RunPodSandbox', containerId: '', ms: 10, failed: false, stages: [STAGE] };

const newId = () => randomBytes(32).toString('hex');

function find<T>(map: Map<string, T>, id: string): [string, T] {
  const found = [...map].find(([key]) => id !== '' && key.startsWith(id));
  if (!found) throw new RpcFailure(status.NOT_FOUND, `no "${id}"`);
  return found;
}

const hasLabels = (labels: Record<string, string>, selector: Record<string, string> | undefined) =>
  Object.entries(selector ?? {}).every(([key, value]) => labels[key] === value);

export class FakeRuntime {
  readonly pods = new Map<string, Pod>();
  readonly containers = new Map<string, Ctr>();
  readonly images = new Map<string, cri.ImageInit>();
  /** Requests as received, by RPC. */
  readonly requests: [string, object][] = [];
  /** PullImage waits for it. */
  pulling: Promise<void> | undefined;
  #clock = 1_700_000_000_000_000_000n;
  readonly #server = new Server();

  static async listen(socket: string): Promise<FakeRuntime> {
    const runtime = new FakeRuntime();
    runtime.#serve(runtimeServiceDefinition, runtime.#runtimeHandlers());
    runtime.#serve(imageServiceDefinition, runtime.#imageHandlers());
    await new Promise<void>((resolve, reject) => {
      runtime.#server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      );
    });
    return runtime;
  }

  close(): void {
    this.#server.forceShutdown();
  }

  addImage(name: string): string {
    const id = `sha256:${newId()}`;
    const digest = `${name.slice(0, name.lastIndexOf(':'))}@sha256:${newId()}`;
    this.images.set(id, { id, repoTags: [name], repoDigests: [digest], size: fromBigInt(4_260_000n) });
    return id;
  }

  #serve(definition: object, handlers: object): void {
    const table = handlers as Record<string, (request: object) => Promise<object>>;
    const unary =
      (name: string) =>
      (call: { request: object }, reply: (error: object | null, value?: object) => void) => {
        this.requests.push([name, call.request]);
        table[name]?.(call.request).then(
          (value) => reply(null, value),
          (error: unknown) =>
            reply({
              code: error instanceof RpcFailure ? error.code : status.INTERNAL,
              details: error instanceof Error ? error.message : '',
            }),
        );
      };
    const served = Object.keys(table).map((name) => [name, unary(name)]);
    this.#server.addService(definition as Parameters<Server['addService']>[0], Object.fromEntries(served));
  }

  #image(name: string): cri.ImageInit | undefined {
    return [...this.images.values()].find(({ id, repoTags, repoDigests }) =>
      [id, ...(repoTags ?? []), ...(repoDigests ?? [])].includes(name),
    );
  }

  #statusOf(id: string, { config, state, exitCode, logPath }: Ctr): cri.ContainerStatusInit {
    return {
      id,
      metadata: config.metadata,
      state,
      exitCode,
      logPath,
      image: config.image,
      createdAt: fromBigInt(this.#clock),
      labels: config.labels,
    };
  }

  #runtimeHandlers(): Partial<RuntimeServiceHandlers<void>> {
    return {
      Version: async () => ({
        version: '0.1.0',
        runtimeName: 'fake',
        runtimeVersion: '1',
        runtimeApiVersion: 'v1',
      }),
      Status: async () => ({
        status: { conditions: [{ type: 'RuntimeReady', status: true }] },
        info: { config: '{"a":1}', note: 'text' },
      }),
      RunPodSandbox: async ({ config, runtimeHandler }) => {
        const id = newId();
        this.#clock += 1_000_000_000n;
        this.pods.set(id, {
          config: config ?? cri.PodSandboxConfig.create(),
          handler: runtimeHandler,
          state: 0,
          createdAt: this.#clock,
        });
        return { podSandboxId: id };
      },
      ListPodSandbox: async ({ filter }) => ({
        items: [...this.pods]
          .filter(
            ([id, pod]) =>
              id.startsWith(filter?.id ?? '') && (!filter?.state || filter.state.state === pod.state),
          )
          .filter(([, pod]) => hasLabels(pod.config.labels, filter?.labelSelector))
          .map(([id, { config, state, createdAt, handler }]) => ({
            id,
            state,
            metadata: config.metadata,
            labels: config.labels,
            createdAt: fromBigInt(createdAt),
            runtimeHandler: handler,
          })),
      }),
      PodSandboxStatus: async ({ podSandboxId }) => {
        const [id, { config, state, createdAt }] = find(this.pods, podSandboxId);
        return {
          status: { id, state, metadata: config.metadata, createdAt: fromBigInt(createdAt) },
          info: { pid: '7', trace: JSON.stringify([TRACE]) },
        };
      },
      StopPodSandbox: async ({ podSandboxId }) => {
        find(this.pods, podSandboxId)[1].state = 1;
        return {};
      },
      RemovePodSandbox: async ({ podSandboxId }) => {
        const [id] = find(this.pods, podSandboxId);
        this.pods.delete(id);
        for (const [key, { pod }] of this.containers) if (pod === id) this.containers.delete(key);
        return {};
      },
      CreateContainer: async ({ podSandboxId, config, sandboxConfig }) => {
        const [pod] = find(this.pods, podSandboxId);
        if (!config || !this.#image(config.image?.image ?? ''))
          throw new RpcFailure(status.NOT_FOUND, 'no such image');
        const id = newId();
        const logPath = join(sandboxConfig?.logDirectory ?? '', config.logPath);
        this.containers.set(id, { pod, config, state: 0, exitCode: 0, logPath });
        return { containerId: id };
      },
      StartContainer: async ({ containerId }) => {
        const [, ctr] = find(this.containers, containerId);
        const [first, code] = ctr.config.args;
        if (first === 'missing') throw new RpcFailure(status.INTERNAL, 'executable file not found');
        mkdirSync(dirname(ctr.logPath), { recursive: true });
        writeFileSync(ctr.logPath, '2026-01-01T00:00:00Z stdout F out\n2026-01-01T00:00:00Z stderr F err\n');
        ctr.state = first === 'exit' ? 2 : 1;
        ctr.exitCode = Number(code ?? 0);
        return {};
      },
      StopContainer: async ({ containerId }) => {
        const [, ctr] = find(this.containers, containerId);
        Object.assign(ctr, { state: 2, exitCode: 143 });
        return {};
      },
      RemoveContainer: async ({ containerId }) => {
        this.containers.delete(find(this.containers, containerId)[0]);
        return {};
      },
      ListContainers: async ({ filter }) => ({
        containers: [...this.containers]
          .filter(
            ([id, { state }]) =>
              id.startsWith(filter?.id ?? '') && (!filter?.state || filter.state.state === state),
          )
          .map(([id, { pod, config, state }]) => ({
            id,
            podSandboxId: pod,
            state,
            metadata: config.metadata,
            image: config.image,
            labels: config.labels,
            imageId: this.#image(config.image?.image ?? '')?.id,
            createdAt: fromBigInt(this.#clock),
          })),
      }),
      ContainerStatus: async ({ containerId }) => {
        const [id, ctr] = find(this.containers, containerId);
        return { status: this.#statusOf(id, ctr), info: { pid: '9' } };
      },
      CheckpointContainer: async ({ containerId }) => {
        find(this.containers, containerId);
        return {};
      },
      ExecSync: async ({ containerId, cmd, timeout }) => {
        find(this.containers, containerId);
        return {
          stdout: Buffer.from(`${cmd.join(' ')} ${toBigInt(timeout)}\n`),
          stderr: Buffer.from('warn\n'),
          exitCode: 3,
        };
      },
    };
  }

  #imageHandlers(): Partial<ImageServiceHandlers<void>> {
    return {
      ListImages: async ({ filter }) => ({
        images: [...this.images.values()].filter(
          ({ id, repoTags }) => !filter?.image || [id, ...(repoTags ?? [])].includes(filter.image.image),
        ),
      }),
      ImageStatus: async ({ image }) => ({ image: this.#image(image?.image ?? '') ?? null }),
      PullImage: async ({ image, auth }) => {
        await this.pulling;
        if (image?.image.startsWith('private/') && auth?.password !== 'p:w')
          throw new RpcFailure(status.UNAUTHENTICATED, 'log in');
        return { imageRef: this.#image(image?.image ?? '')?.id ?? this.addImage(image?.image ?? '') };
      },
      RemoveImage: async ({ image }) => {
        this.images.delete(this.#image(image?.image ?? '')?.id ?? '');
        return {};
      },
      ImageFsInfo: async () => ({
        imageFilesystems: [
          {
            timestamp: fromBigInt(1n),
            fsId: { mountpoint: '/var/lib/x' },
            usedBytes: { value: fromBigInt(12_000n) },
            inodesUsed: { value: fromBigInt(3n) },
          },
        ],
      }),
    };
  }
}
