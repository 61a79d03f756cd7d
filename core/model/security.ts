/** Parts of CRI's security contexts that pods and containers share. */

/** All modes of the CRI message; which mode is possible for which namespace is for each service to judge. */
export type NamespaceMode = 'pod' | 'container' | 'node' | 'target';

/** A range of ids of a user namespace. */
export interface IdMapping {
  readonly containerId: number;
  readonly hostId: number;
  readonly length: number;
}

/** The ranges of a user namespace. */
export interface IdMappings {
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
}

export interface SecurityProfile {
  readonly type: 'RuntimeDefault' | 'Unconfined' | 'Localhost';
  /** Localhost: an absolute path for seccomp, a loaded profile's name for AppArmor. */
  readonly localhostRef: string;
}

/** Empty parts are the host's usual ones. */
export interface SelinuxOptions {
  readonly user: string;
  readonly role: string;
  readonly type: string;
  readonly level: string;
}
