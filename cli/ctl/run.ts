/** `crisp ctl run`: a pod with one container in one step, from an image and a command or from two files. */
import { randomBytes, randomUUID } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { cri } from '#api/cri/v1/index.ts';
import { parseSize } from '#config/index.ts';
import { CrispError, describeError } from '#core/errors.ts';
import { type Command, type Parsed, UsageError } from '../command.ts';
import { readMessage } from '../documents.ts';
import { COMMAND_EXITS, type Ctl } from './context.ts';
import { hasEnded, printLog } from './logs.ts';
import { authOf, credentialFlags, pullImage } from './pull.ts';
import { planRun, type RunPlan, runFlags } from './run-config.ts';

/** Grace period in seconds when the user interrupts. */
const GRACE_SECONDS = 10;

interface Running {
  readonly podSandboxId: string;
  readonly containerId: string;
}

function memoryOf(parsed: Parsed): number | undefined {
  const text = parsed.text('memory');
  const bytes = text === undefined ? undefined : parseSize(text);
  if (text !== undefined && bytes === undefined)
    throw new UsageError(`--memory must be a size such as 64MiB, not '${text}'`);
  return bytes;
}

const isFile = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined))?.isFile() ?? false;

/** Two file names are configurations, as with crictl; anything else is an image and its command. */
async function planOf(parsed: Parsed): Promise<RunPlan & { attach: boolean }> {
  const [first = '', second = ''] = parsed.args;
  if (parsed.args.length === 2 && (await isFile(first)) && (await isFile(second))) {
    const container = await readMessage('ContainerConfig', first);
    return { container, pod: await readMessage('PodSandboxConfig', second), logDirectory: '', attach: false };
  }
  const identity = { name: `run-${randomBytes(4).toString('hex')}`, uid: randomUUID() };
  return { ...planRun(parsed, identity, memoryOf(parsed)), attach: !parsed.has('detach') };
}

/** Pulls the image where absent and starts pod and container; a failure removes the pod. */
async function launch(ctl: Ctl, parsed: Parsed, plan: RunPlan): Promise<Running> {
  const { pod, container } = plan;
  const image = container.image ?? {};
  const present = await ctl.client.ImageStatus({ image }, ctl.call());
  if (!present.image || parsed.has('pull'))
    await pullImage(ctl, { image, auth: authOf(parsed), sandboxConfig: pod });
  const runtimeHandler = parsed.text('runtime') ?? '';
  const { podSandboxId } = await ctl.client.RunPodSandbox({ config: pod, runtimeHandler }, ctl.call(120_000));
  try {
    const request = { podSandboxId, config: container, sandboxConfig: pod };
    const { containerId } = await ctl.client.CreateContainer(request, ctl.call());
    await ctl.client.StartContainer({ containerId }, ctl.call());
    return { podSandboxId, containerId };
  } catch (error) {
    await removePod(ctl, podSandboxId, plan).catch((reason: unknown) => {
      ctl.terminal.err(`crisp ctl run: pod ${podSandboxId} was not removed: ${describeError(reason)}\n`);
    });
    throw error;
  }
}

/** Not cancelled by the user's interrupt. */
async function removePod(ctl: Ctl, podSandboxId: string, { logDirectory }: RunPlan): Promise<void> {
  await ctl.client.StopPodSandbox({ podSandboxId });
  await ctl.client.RemovePodSandbox({ podSandboxId });
  if (logDirectory) await rm(logDirectory, { recursive: true, force: true });
}

/** Shows the log until the container has ended and resolves to its exit code. An interrupt stops the container. */
async function attach(ctl: Ctl, containerId: string): Promise<number> {
  const status = async () => (await ctl.client.ContainerStatus({ containerId })).status;
  const logPath = (await status())?.logPath;
  if (!logPath) throw new CrispError('Internal', `container ${containerId} has no log path`);
  const finished = new AbortController(); // an interrupt ends the container, and that ends the log
  const stop = () => {
    const request = cri.StopContainerRequest.fromObject({ containerId, timeout: GRACE_SECONDS });
    void ctl.client.StopContainer(request).catch((error: unknown) => {
      ctl.terminal.err(`crisp ctl run: ${describeError(error)}\n`);
      finished.abort();
    });
  };
  ctl.signal.addEventListener('abort', stop);
  if (ctl.signal.aborted) stop(); // since the start of the container
  try {
    const untilEnd = { ...ctl, call: () => ({}) };
    const options = { finished: () => hasEnded(untilEnd, containerId), signal: finished.signal };
    await printLog(ctl, logPath, options, false);
  } finally {
    ctl.signal.removeEventListener('abort', stop);
  }
  return ((await status())?.exitCode ?? 255) & 0xff;
}

export const run: Command<Ctl> = {
  name: 'run',
  usage: 'IMAGE [COMMAND...] | CONTAINER-FILE POD-FILE',
  summary: 'Run a container in its own pod, and show its output',
  flags: {
    detach: { type: 'boolean', short: 'd', doc: 'Print the id of the container and return' },
    rm: { type: 'boolean', doc: 'Remove the pod, its container and its log at the end' },
    pull: { type: 'boolean', doc: 'Pull the image even where it is present' },
    runtime: { type: 'string', short: 'r', value: 'HANDLER', doc: 'Runtime handler' },
    ...runFlags,
    ...credentialFlags,
  },
  arity: [1, Infinity],
  greedy: true,
  exits: COMMAND_EXITS,
  async run(ctl, parsed) {
    if (parsed.has('detach') && parsed.has('rm'))
      throw new UsageError('crisp ctl run: --detach and --rm exclude each other');
    const plan = await planOf(parsed);
    const { podSandboxId, containerId } = await launch(ctl, parsed, plan);
    if (!plan.attach) {
      ctl.terminal.out(`${containerId}\n`);
      return 0;
    }
    try {
      return await attach(ctl, containerId);
    } finally {
      if (parsed.has('rm')) await removePod(ctl, podSandboxId, plan);
    }
  },
};
