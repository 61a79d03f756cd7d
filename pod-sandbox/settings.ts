/** The options that can change while the service is open, and what is made of them. */
import { CrispError } from '#core/errors.ts';
import type { Context } from './context.ts';
import { checkSysctls } from './namespaces/sysctls.ts';
import { ConfDirectory } from './network/cni/conf-directory.ts';
import {
  type Deadlines,
  defaultDeadlines,
  type NetworkOptions,
  type PodSandboxOptions,
  type SandboxHandler,
} from './options.ts';

type Own =
  | 'networks'
  | 'networksOf'
  | 'ranges'
  | 'cniMode'
  | 'ipPreference'
  | 'hostPorts'
  | 'defaultSysctls'
  | 'deadlines';

/** What the context has of them; each verb reads it when it begins. */
export type Settings = Pick<Context, Own> & {
  readonly options: PodSandboxOptions;
  readonly directories: Directories;
};

/** By what they are made of, so that a reload uses those again that stay the same. */
export type Directories = ReadonlyMap<string, ConfDirectory>;

interface Parts extends Pick<Context, 'kernel' | 'log'> {
  onNetwork?(): void;
}

/** Throws InvalidArgument for a default sysctl that no pod may have. `before`: its directories are used again where they are the same. */
export function settingsOf(options: PodSandboxOptions, parts: Parts, before?: Settings): Settings {
  const { network } = options;
  const sysctls = options.defaultSysctls ?? {};
  const all = { network: 'pod', ipc: 'pod', pid: 'pod', user: undefined } as const;
  checkSysctls(sysctls, all, (name) => `container.default_sysctls.${name}: the sysctl`);
  const directories = new Map<string, ConfDirectory>();
  const open = (place: Place): ConfDirectory => {
    const key = JSON.stringify([place.confDir, place.name, place.max]);
    const found = directories.get(key) ?? before?.directories.get(key) ?? openDirectory(place, parts);
    directories.set(key, found);
    return found;
  };
  const networks = open(placeOf(network));
  const ofHandlers = new Map(
    Object.entries(options.handlers).map(([name, handler]) => [name, open(placeOf(network, handler))]),
  );
  return {
    options,
    networks,
    networksOf: (handler) => ofHandlers.get(handler) ?? networks,
    directories,
    ranges: { confDir: network.confDir, template: network.template ?? '' },
    cniMode: network.native ?? 'exec',
    ipPreference: network.ipPreference ?? 'cni',
    hostPorts: network.hostPorts ?? true,
    defaultSysctls: sysctls,
    deadlines: { ...defaultDeadlines, ...options.deadlines },
  };
}

interface Place {
  readonly confDir: string;
  readonly name: string;
  readonly max: number;
}

/** The pinned name is one of the common directory. */
function placeOf(network: NetworkOptions, handler?: SandboxHandler): Place {
  const max = handler?.maxNetworks || (network.maxNetworks ?? 1);
  if (handler?.confDir) return { confDir: handler.confDir, name: '', max };
  return { confDir: network.confDir, name: network.name ?? '', max };
}

const openDirectory = ({ confDir, name, max }: Place, parts: Parts): ConfDirectory =>
  new ConfDirectory(confDir, parts.log, parts.kernel.inotify, name, () => parts.onNetwork?.(), max);

/** The part that calls plugins. */
export const pluginLimits = ({ binDirs }: NetworkOptions, deadlines: Deadlines) => ({
  binDirs,
  addLimit: deadlines.networkAdd,
  delLimit: deadlines.networkDel,
});

/** The handler of a request, in which the empty name is the default. Throws for one that is unknown or not implemented. */
export function checkedHandler(
  { handlers }: PodSandboxOptions,
  name: string,
  defaultName: string,
): SandboxHandler {
  const wanted = name === '' ? defaultName : name;
  const handler = Object.hasOwn(handlers, wanted) ? handlers[wanted] : undefined;
  if (!handler) {
    const known = Object.keys(handlers).join(', ') || 'none';
    throw new CrispError('InvalidArgument', `runtime handler ${JSON.stringify(wanted)} is not known`, {
      hint: `use one of: ${known}, or configure it`,
    });
  }
  if (handler.sandbox !== 'pause') {
    throw new CrispError(
      'Unimplemented',
      `handler ${wanted} requires sandboxes made by its runtime: that is not implemented`,
      {
        hint: `set sandbox = "pause" for the handler, or use another one`,
      },
    );
  }
  return handler;
}
