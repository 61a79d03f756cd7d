/** Whether the kubelet uses crisp: for pods, and for the labels of its metrics. */
import { parse as parseYaml } from 'yaml';
import { describeError } from '#core/errors.ts';
import type { Node } from '#daemon/preflight/node.ts';
import { type Check, ok, type Result, warning } from './result.ts';

const DIRECTORY = '/var/lib/kubelet';
const CONFIGURATION = `${DIRECTORY}/config.yaml`;
/** Of kubeadm, which merges it into the configuration at each upgrade. */
const INSTANCE = `${DIRECTORY}/instance-config.yaml`;
/** The later one goes first. */
const UNIT_DIRECTORIES = [
  '/usr/lib/systemd/system/kubelet.service.d',
  '/etc/systemd/system/kubelet.service.d',
];
/** In the order in which kubeadm's unit has their variables: of two flags the later one counts. */
const FLAG_FILES = [`${DIRECTORY}/kubeadm-flags.env`, '/etc/default/kubelet', '/etc/sysconfig/kubelet'];
/** Where cAdvisor looks for containerd without the flag. */
const CONTAINERD = '/run/containerd/containerd.sock';
/** With this gate the metrics of containers are those of CRI, and cAdvisor's are not needed. */
const STATS_GATE = 'PodAndContainerStatsFromCRI';

export const kubeletChecks: readonly Check[] = [
  { id: 'kubelet', run: endpointCheck },
  { id: 'kubelet-metrics', run: metricsCheck },
];

type Flags = readonly string[];

/** The value of the last such flag; undefined where there is none. */
function flagOf(flags: Flags, name: string): string | undefined {
  const at = flags.findLastIndex((flag) => flag === `--${name}` || flag.startsWith(`--${name}=`));
  const flag = flags[at];
  if (flag === undefined) return undefined;
  return flag === `--${name}` ? flags[at + 1] : flag.slice(name.length + 3);
}

/** The words of units and environment files, without the names of variables before them. */
const flagsIn = (text: string): Flags =>
  text
    .split('\n')
    .filter((line) => !/^\s*[#;]/.test(line))
    .flatMap((line) => line.split(/[\s"']+/))
    .map((word) => word.replace(/^(\w+=)+/, ''));

/** The kubelet as its files have it, and as it runs. */
interface Kubelet {
  readonly ofFiles: Flags;
  readonly running: { readonly pid: number; readonly argv: Flags } | undefined;
}

/** undefined: this node has none. */
function kubeletOf(node: Node): Kubelet | undefined {
  const texts = [...unitFiles(node), ...FLAG_FILES].map((path) => node.text(path));
  const [running] = node.commandLines('kubelet');
  if (!running && node.text(CONFIGURATION) === undefined && texts.every((text) => text === undefined))
    return undefined;
  return { ofFiles: texts.flatMap((text) => flagsIn(text ?? '')), running };
}

/** As systemd reads them: by name, whatever their directory, and of two with the same name one (systemd.unit(5)). */
function unitFiles(node: Node): string[] {
  const all = UNIT_DIRECTORIES.flatMap((directory) =>
    dropIns(node, directory).map((name) => [name, `${directory}/${name}`] as const),
  );
  const files = new Map(all);
  return [...files.keys()].sort().flatMap((name) => files.get(name) ?? []);
}

/** Of systemd's units and of the kubelet's configuration: files of other names are not read. */
const dropIns = (node: Node, directory: string): string[] =>
  node.entries(directory).filter((name) => name.endsWith('.conf'));

interface Settings {
  readonly endpoint: string | undefined;
  readonly containerd: string;
  readonly statsByCri: boolean;
}

/** Flags go before the configuration, and of that the files of `--config-dir` before the others. Throws where one is not YAML. */
function settingsOf(node: Node, flags: Flags): Settings {
  const directory = flagOf(flags, 'config-dir');
  const files = directory ? dropIns(node, directory).map((name) => `${directory}/${name}`) : [];
  const documents = [flagOf(flags, 'config') ?? CONFIGURATION, ...files].map((path) =>
    documentOf(node, path),
  );
  const { containerRuntimeEndpoint } = Object.assign({}, ...documents);
  const featureGates = Object.assign({}, ...documents.map((one) => isRecord(one['featureGates'])));
  const gates = flagOf(flags, 'feature-gates')?.split(',');
  return {
    endpoint: flagOf(flags, 'container-runtime-endpoint') ?? endpointIn(containerRuntimeEndpoint),
    containerd: flagOf(flags, 'containerd') ?? CONTAINERD,
    statsByCri: gates?.includes(`${STATS_GATE}=true`) ?? featureGates[STATS_GATE] === true,
  };
}

/** Empty where there is none, or something else than an object. Throws, naming the file, where it is not YAML. */
function documentOf(node: Node, path: string): Readonly<Record<string, unknown>> {
  try {
    return isRecord(parseYaml(node.text(path) ?? '')) ?? {};
  } catch (error) {
    throw new UnreadableFile(path, error);
  }
}

class UnreadableFile extends Error {
  constructor(path: string, cause: unknown) {
    super(`${path} cannot be read: ${describeError(cause)}`, { cause });
  }
}

const isRecord = (value: unknown): Readonly<Record<string, unknown>> | undefined =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined;

const endpointIn = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;

/** A socket's path: /var/run is /run. */
const socketOf = (endpoint: string): string =>
  endpoint.replace(/^unix:(\/\/)?/, '').replace(/^\/var\/run\//, '/run/');

function endpointCheck(node: Node): Result {
  const kubelet = kubeletOf(node);
  if (!kubelet) return ok(`no kubelet runs, and there is no configuration in ${DIRECTORY}`);
  const own = socketOf(node.config.socket);
  const isOwn = (endpoint: string | undefined) => endpoint !== undefined && socketOf(endpoint) === own;
  const wanted = `unix://${node.config.socket}`;
  const remedy = `set containerRuntimeEndpoint: ${wanted} in ${CONFIGURATION}, and restart the kubelet`;
  return reading(() => {
    const { running, ofFiles } = kubelet;
    const { endpoint } = settingsOf(node, running?.argv ?? ofFiles);
    if (endpoint === undefined) return warning('the kubelet names no container runtime endpoint', remedy);
    if (!isOwn(endpoint) && running)
      return warning(
        `the running kubelet (pid ${running.pid}) uses ${endpoint}`,
        isOwn(settingsOf(node, ofFiles).endpoint)
          ? 'restart the kubelet: its files name this endpoint'
          : remedy,
      );
    if (!isOwn(endpoint)) return warning(`the kubelet uses ${endpoint}`, remedy);
    const next = endpointIn(documentOf(node, INSTANCE)['containerRuntimeEndpoint']);
    if (next === undefined || isOwn(next)) return ok(`uses ${endpoint}`);
    return warning(
      `uses ${endpoint}, but ${INSTANCE} names ${next}: kubeadm's next upgrade writes it into the configuration`,
      `set containerRuntimeEndpoint: ${wanted} in ${INSTANCE}`,
    );
  });
}

function metricsCheck(node: Node): Result {
  const kubelet = kubeletOf(node);
  if (!kubelet) return ok(`no kubelet runs, and there is no configuration in ${DIRECTORY}`);
  const { socket, containerdSocket } = node.config;
  const served = [socket, containerdSocket].filter((path) => path !== '').map(socketOf);
  const isServed = ({ containerd }: Settings) => served.includes(socketOf(containerd));
  return reading(() => {
    const { running, ofFiles } = kubelet;
    const settings = settingsOf(node, running?.argv ?? ofFiles);
    if (settings.statsByCri) return ok(`/metrics/cadvisor has the metrics of CRI (${STATS_GATE})`);
    const asked = `the kubelet reads them from ${settings.containerd}`;
    if (isServed(settings)) return ok(`/metrics/cadvisor has the labels of pods: ${asked}`);
    return warning(
      `/metrics/cadvisor has no labels of pods: ${asked}, which crisp does not serve`,
      running && isServed(settingsOf(node, ofFiles))
        ? 'restart the kubelet: its files name a socket of crisp'
        : `start the kubelet with --containerd=${socket} (KUBELET_EXTRA_ARGS in /etc/default/kubelet or /etc/sysconfig/kubelet), or set containerd_socket = ${JSON.stringify(CONTAINERD)} in crisp.toml and restart crisp`,
    );
  });
}

function reading(check: () => Result): Result {
  try {
    return check();
  } catch (error) {
    if (error instanceof UnreadableFile) return warning(error.message, 'correct the file');
    throw error;
  }
}
