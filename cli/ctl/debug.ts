/** `crisp ctl debug`: programs of the node in a pod's network namespace, or those of a container in its mount namespace. */
import { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { EnteredKind, HeldNamespaces } from '#daemon/enter-namespaces.ts';
import { type Command, UsageError } from '../command.ts';
import { COMMAND_EXITS, type Ctl } from './context.ts';
import { containerNames, findRunning } from './running.ts';

const SHELL = '/bin/sh';
/** The node's may name directories that the container lacks. */
const CONTAINER_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

interface Targets {
  readonly pod: cri.PodSandbox;
  readonly containers: readonly cri.Container[];
}

/** A process that runs, with what is held of it. */
interface Held {
  readonly pid: number;
  readonly namespaces: HeldNamespaces;
}

export const debug: Command<Ctl> = {
  name: 'debug',
  usage: '[--net] [--mounts] [-c NAME] POD-or-CONTAINER [COMMAND [ARG...]]',
  summary: "Run a shell or program of the node in a pod's network; the container's files are in $CRISP_ROOT",
  flags: {
    net: { type: 'boolean', doc: "In the pod's network namespace; the default without --mounts" },
    mounts: {
      type: 'boolean',
      doc: "In the container's mount and pid namespaces: its programs, as root of the node and unconfined; only for images that you trust",
    },
    container: { type: 'string', short: 'c', value: 'NAME', doc: 'The container of the pod, by name' },
  },
  arity: [1, Infinity],
  exits: COMMAND_EXITS,
  greedy: true,
  async run(ctl, parsed) {
    const [word = '', ...rest] = parsed.args;
    const command = rest[0] === '--' ? rest.slice(1) : rest;
    if (process.geteuid?.() !== 0)
      throw new CrispError('PermissionDenied', 'crisp ctl debug: only root may enter namespaces', {
        hint: 'run it as root on the node',
      });
    const { pod, containers } = await findTargets(ctl, word, parsed.text('container'));
    const isInMounts = parsed.has('mounts');
    if (isInMounts && containers.length !== 1) throw ambiguous(word, containers);
    const { become, HeldNamespaces, runAttached } = await import('#daemon/enter-namespaces.ts');
    const open = (pid: number, kinds: readonly EnteredKind[]) => new HeldNamespaces(pid, kinds);
    const isInNetwork = parsed.has('net') || !isInMounts;
    const facts: PodFacts = {};
    const held = isInNetwork ? [await hold(podPid(ctl, pod, facts), ['net'], open)] : [];
    const roots: [name: string, pid: number][] = [];
    for (const container of containers) {
      const found = await hold(containerPid(ctl, container), isInMounts ? ['pid', 'mnt'] : [], open);
      held.push(found);
      roots.push([container.metadata?.name ?? '', found.pid]);
    }
    if (command.length === 0)
      ctl.terminal.err(introduction(pod, { isInNetwork, isInMounts, roots, ...facts }));
    for (const { namespaces } of held) namespaces.enter();
    setEnvironment(pod, isInMounts, roots);
    const shell = isInMounts ? SHELL : process.env['SHELL'] || SHELL;
    const program = command.length > 0 ? command : [shell];
    return isInMounts ? runAttached(program) : become(program);
  },
};

/** The pod, and its running containers or the one that is meant. Throws NotFound, UsageError. */
async function findTargets(ctl: Ctl, word: string, wanted: string | undefined): Promise<Targets> {
  const { byId, pods, ofPods } = await findRunning(ctl, word);
  const ready = pods.filter(({ state }) => state === cri.PodSandboxState.SANDBOX_READY);
  const [container, ...others] = byId;
  if (container) {
    if (others.length > 0 || ready.length > 0) throw ambiguous(word, byId);
    const { items } = await ctl.client.ListPodSandbox({ filter: { id: container.podSandboxId } }, ctl.call());
    return { pod: items[0] ?? cri.PodSandbox.create({}), containers: [container] };
  }
  const [pod, ...more] = ready;
  if (!pod)
    throw new CrispError('NotFound', `no ready pod and no running container matches "${word}"`, {
      hint: 'see `crisp ctl pods` and `crisp ctl ps`',
    });
  if (more.length > 0)
    throw new UsageError(
      `"${word}" matches several pods: ${ready.map(({ id }) => id.slice(0, 13)).join(', ')}`,
      'give more of the id',
    );
  const own = ofPods.filter(({ podSandboxId }) => podSandboxId === pod.id);
  const named = own.filter(({ metadata }) => wanted === undefined || metadata?.name === wanted);
  if (wanted !== undefined && named.length === 0)
    throw new CrispError('NotFound', `pod "${word}" has no running container "${wanted}"`, {
      hint: `it has ${containerNames(own) || 'none'}`,
    });
  return { pod, containers: named };
}

const ambiguous = (word: string, containers: readonly cri.Container[]): CrispError =>
  containers.length === 0
    ? new CrispError('NotFound', `pod "${word}" has no running container`, { hint: 'see `crisp ctl ps -a`' })
    : new UsageError(
        `"${word}" matches several containers: ${containerNames(containers)}`,
        'choose one with -c, or give its id',
      );

type Pid = () => Promise<number>;

/** What is to be said of the pod, as far as its runtime tells. */
interface PodFacts {
  /** What CNI CHECK has found to be wrong. */
  checkError?: string;
}

const podPid =
  (ctl: Ctl, { id }: cri.PodSandbox, facts: PodFacts): Pid =>
  async () => {
    const { status, info } = await ctl.client.PodSandboxStatus(
      { podSandboxId: id, verbose: true },
      ctl.call(),
    );
    const { cniCheck } = JSON.parse(info['info'] ?? '{}') as { cniCheck?: { error?: string } };
    if (cniCheck?.error !== undefined) facts.checkError = cniCheck.error;
    return pidOf(status?.state === cri.PodSandboxState.SANDBOX_READY, info, `pod ${id}`);
  };

const containerPid =
  (ctl: Ctl, { id }: cri.Container): Pid =>
  async () => {
    const { status, info } = await ctl.client.ContainerStatus({ containerId: id, verbose: true }, ctl.call());
    return pidOf(status?.state === cri.ContainerState.CONTAINER_RUNNING, info, `container ${id}`);
  };

/** By the name that crisp, containerd and CRI-O have for it. */
function pidOf(runs: boolean, info: Readonly<Record<string, string>>, what: string): number {
  const { pid } = JSON.parse(info['info'] ?? '{}') as { pid?: unknown };
  if (runs && typeof pid === 'number' && pid > 0) return pid;
  throw new CrispError(
    'FailedPrecondition',
    `${what}: ${runs ? 'its runtime reports no process' : 'it has ended'}`,
    {
      hint: 'see `crisp ctl inspectp` and `crisp ctl inspect`',
    },
  );
}

/**
 * What is opened of the process is its own only if it is still the runtime's, and has not ended in between, when all is open: a
 * pid may be another process's by then.
 */
async function hold(
  ask: Pid,
  kinds: readonly EnteredKind[],
  open: (pid: number, kinds: readonly EnteredKind[]) => HeldNamespaces,
): Promise<Held> {
  const pid = await ask();
  const namespaces = open(pid, kinds);
  if ((await ask()) === pid && namespaces.isSame) return { pid, namespaces };
  namespaces[Symbol.dispose]();
  throw new CrispError('Aborted', 'the process was replaced while its namespaces were opened', {
    hint: 'try again',
  });
}

interface Places extends PodFacts {
  readonly isInNetwork: boolean;
  readonly isInMounts: boolean;
  readonly roots: readonly (readonly [name: string, pid: number])[];
}

function introduction(
  { metadata }: cri.PodSandbox,
  { isInNetwork, isInMounts, roots, checkError }: Places,
): string {
  const lines = [
    `pod ${metadata?.namespace}/${metadata?.name}`,
    isInNetwork ? 'network: of the pod' : 'network: of the node',
    ...(checkError === undefined ? [] : [`its network is not as it was made: ${checkError}`]),
    isInMounts
      ? 'programs and files: of the container; they run as root of the node, unconfined'
      : 'programs: of the node',
    ...(isInMounts ? [] : roots.map(([name, pid]) => `files of container ${name}: /proc/${pid}/root`)),
  ];
  return `${lines.map((line) => `crisp: ${line}\n`).join('')}`;
}

function setEnvironment({ metadata }: cri.PodSandbox, isInMounts: boolean, roots: Places['roots']): void {
  const { env } = process;
  env['CRISP_POD'] = `${metadata?.namespace}/${metadata?.name}`;
  const [root, ...others] = roots;
  if (isInMounts) env['CRISP_ROOT'] = '/';
  else if (root && others.length === 0) env['CRISP_ROOT'] = `/proc/${root[1]}/root`;
  if (isInMounts) env['PATH'] = CONTAINER_PATH;
}
