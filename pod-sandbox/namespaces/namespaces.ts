/** The namespaces that a pod has for itself, and the request for their pause process. */
import type { NamespaceKind, PauseRequest } from '#linux/ports/kernel.ts';
import { ownUserNamespace, type SandboxConfig } from '../config.ts';
import { applicableSysctls, dottedSysctls, nodeSysctls } from './sysctls.ts';

/**
 * The pod on the node's network has the node's host name too, unless it requests another: only then has it a uts
 * namespace of its own.
 */
export function namespaceKinds(config: SandboxConfig): NamespaceKind[] {
  const { network, ipc, pid } = config.linux.security.namespaces;
  const kinds: [NamespaceKind, boolean][] = [
    ['user', ownUserNamespace(config) !== undefined],
    ['net', network === 'pod'],
    ['ipc', ipc === 'pod'],
    ['uts', network === 'pod' || config.hostname !== ''],
    ['pid', pid === 'pod'],
  ];
  return kinds.filter(([, own]) => own).map(([kind]) => kind);
}

export function pauseRequest(
  config: SandboxConfig,
  place: {
    readonly pins: string;
    readonly hostname: string;
    readonly oomScoreAdj: number;
    readonly defaultSysctls: Readonly<Record<string, string>>;
    readonly enter: readonly string[] | undefined;
    /** The SELinux context; empty: none. */
    readonly label: string;
  },
): PauseRequest {
  const kinds = namespaceKinds(config);
  const user = ownUserNamespace(config);
  const sysctls = {
    ...applicableSysctls(place.defaultSysctls, config.linux.security.namespaces),
    ...dottedSysctls(config.linux.sysctls),
  };
  return {
    kinds,
    pins: place.pins,
    sysctls: user ? nodeSysctls(sysctls, user.gids) : sysctls,
    oomScoreAdj: place.oomScoreAdj,
    ...(place.label === '' ? {} : { label: place.label }),
    ...(place.enter && !user ? { joinFiles: place.enter } : {}),
    ...(kinds.includes('uts') ? { hostname: place.hostname } : {}),
    ...(user ? { userNamespace: { uids: user.uids, gids: user.gids } } : {}),
  };
}
