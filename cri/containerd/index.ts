/**
 * What cAdvisor asks of containerd, answered from memory: with it the kubelet's /metrics/cadvisor has the labels of pods,
 * namespaces and containers, and the network of pods, for crisp, too. cAdvisor finds a container by the 64 hexadecimal digits in the
 * last segment of its cgroup, and gives up on it for good where Containers.Get does not know it: so what is being created is
 * known as soon as it is on record, which is before its cgroup exists.
 */
import { type Container, type Process, TaskStatus, type Version } from '#api/containerd/messages.ts';
import { CrispError } from '#core/errors.ts';
import { isFullId, type SandboxId } from '#core/ids.ts';
import type { Sandbox } from '#pod-sandbox/index.ts';
import type { ContainerRecord } from '#runtime-service/index.ts';
import type { CriServices } from '../services.ts';

/** As containerd's CRI plugin marks its containers; cAdvisor reads the network of sandboxes alone. */
const KIND_LABEL = 'io.cri-containerd.kind';
const SPEC_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/Spec';
const OCI_VERSION = '1.1.0';
/** Sandboxes have no image here; queries of dashboards want one (`image!=""`). */
const PAUSE_IMAGE = 'crisp/pause';

/** The part of the OCI spec that is on record: without environment and arguments, which may be secret. */
function spec(process: object, cgroupsPath: string): Container['spec'] {
  const text = JSON.stringify({ ociVersion: OCI_VERSION, process, linux: { cgroupsPath } });
  return { typeUrl: SPEC_TYPE, value: Buffer.from(text) };
}

const ofContainer = (record: ContainerRecord): Container => ({
  id: record.id,
  labels: { ...record.labels, [KIND_LABEL]: 'container' },
  image: record.image.name || record.image.requested,
  runtime: record.handler,
  spec: spec(
    {
      terminal: record.tty,
      cwd: '/',
      user: {
        uid: record.user.uid,
        gid: record.user.gid,
        additionalGids: record.user.supplementalGroups,
      },
    },
    record.cgroup.oci,
  ),
  createdAt: record.createdAt,
});

const ofSandbox = (sandbox: Sandbox): Container => ({
  id: sandbox.id,
  labels: { ...sandbox.config.labels, [KIND_LABEL]: 'sandbox' },
  image: PAUSE_IMAGE,
  runtime: sandbox.runtimeHandler,
  spec: spec({ cwd: '/', user: { uid: 0, gid: 0 } }, sandbox.cgroup),
  createdAt: sandbox.createdAt,
});

function processOfContainer({ id, state, process, exit, tty }: ContainerRecord): Process | undefined {
  const base = { id, terminal: tty };
  if (state === 'exited')
    return {
      ...base,
      pid: 0,
      status: TaskStatus.STOPPED,
      exitStatus: exit?.code ?? 0,
      exitedAt: exit?.finishedAt ?? 0n,
    };
  if (!process) return undefined;
  const status = state === 'running' ? TaskStatus.RUNNING : TaskStatus.CREATED;
  return { ...base, pid: process.pid, status, exitStatus: 0, exitedAt: 0n };
}

function processOfSandbox({ id, state, reason, process }: Sandbox): Process | undefined {
  const base = { id, terminal: false, exitStatus: 0, exitedAt: 0n };
  if (state === 'notReady' && reason !== undefined) return { ...base, pid: 0, status: TaskStatus.STOPPED };
  return process && { ...base, pid: process.pid, status: TaskStatus.RUNNING };
}

/** What the id, which is never a prefix here, names: a container or a sandbox. */
function known<T>(
  { containers, pods }: CriServices,
  id: string,
  of: { container: (record: ContainerRecord) => T; sandbox: (sandbox: Sandbox) => T },
): T {
  const record = isFullId(id) ? containers.find(id) : undefined;
  if (record) return of.container(record);
  const sandbox = isFullId(id) ? pods.get(id as SandboxId) : undefined;
  if (sandbox) return of.sandbox(sandbox);
  throw new CrispError(
    'NotFound',
    `container ${JSON.stringify(id.slice(0, 80))}: no such container or pod sandbox`,
  );
}

export const containerdHandlers = (services: CriServices) => ({
  'containerd.Containers.Get': async ({ id }: { readonly id: string }): Promise<Container> =>
    known(services, id, { container: ofContainer, sandbox: ofSandbox }),
  /** NotFound while there is no process: cAdvisor asks again, as it does of containerd. */
  'containerd.Tasks.Get': async ({ id }: { readonly id: string }): Promise<Process> => {
    const process = known(services, id, { container: processOfContainer, sandbox: processOfSandbox });
    if (process) return process;
    throw new CrispError('NotFound', `container ${id}: it has no process yet`, { hint: 'retry' });
  },
  'containerd.Version': async (): Promise<Version> => ({
    version: `crisp ${services.facts.version}`,
    revision: '',
  }),
});
