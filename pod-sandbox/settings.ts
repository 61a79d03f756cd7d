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

/** What the context has of them; each verb reads it when it begins. */
export type Settings = Pick<Context, 'networks' | 'ranges' | 'cniMode' | 'defaultSysctls' | 'deadlines'> & {
  readonly options: PodSandboxOptions;
};

/** Throws InvalidArgument for a default sysctl that no pod may have. `before`: its directory is used again where it is the same. */
export function settingsOf(
  options: PodSandboxOptions,
  parts: Pick<Context, 'kernel' | 'log'> & { onNetwork?(): void },
  before?: Settings,
): Settings {
  const { network } = options;
  const sysctls = options.defaultSysctls ?? {};
  const all = { network: 'pod', ipc: 'pod', pid: 'pod', user: undefined } as const;
  checkSysctls(sysctls, all, (name) => `container.default_sysctls.${name}: the sysctl`);
  return {
    options,
    networks:
      before && isSameDirectory(before.options.network, network)
        ? before.networks
        : new ConfDirectory(network.confDir, parts.log, parts.kernel.inotify, network.name, () =>
            parts.onNetwork?.(),
          ),
    ranges: { confDir: network.confDir, template: network.template ?? '' },
    cniMode: network.native ?? 'exec',
    defaultSysctls: sysctls,
    deadlines: { ...defaultDeadlines, ...options.deadlines },
  };
}

const isSameDirectory = (one: NetworkOptions, other: NetworkOptions): boolean =>
  one.confDir === other.confDir && (one.name ?? '') === (other.name ?? '');

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
