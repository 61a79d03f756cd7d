import type { SandboxId } from '../ids.ts';
import type { IdMappings } from './security.ts';
import type { SelinuxLabels } from './selinux.ts';

export interface SandboxMetadata {
  readonly name: string;
  readonly uid: string;
  readonly namespace: string;
  /** 0 … 2^32-1; counted up by the kubelet with each new sandbox of the pod. */
  readonly attempt: number;
}

/** The pod as its containers see it: a snapshot of committed state. */
export interface PodView {
  readonly id: SandboxId;
  readonly ready: boolean;
  readonly metadata: SandboxMetadata;
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
  readonly logDirectory: string;
  readonly privileged: boolean;
  readonly hostname: string;
  readonly network: 'pod' | 'node';
  readonly ipc: 'pod' | 'node';
  /** The pod's own choice; `container` where nothing was shared. */
  readonly pid: 'pod' | 'container' | 'node';
  readonly userNamespace: IdMappings | undefined;
  /** Pinned namespaces by kind; a kind that is the host's is absent. */
  readonly pins: Readonly<Partial<Record<'net' | 'ipc' | 'uts' | 'pid' | 'user', string>>>;
  /** The pod's own files on the host. */
  readonly files: {
    readonly hostname: string | undefined;
    readonly resolvConf: string | undefined;
    readonly shm: string | undefined;
  };
  /** The cgroup of the pod's monitors (conmon): a leaf of the pod's cgroup. */
  readonly monitorCgroup: string;
  /** What the labels of its containers are made of; undefined: it was made without SELinux. */
  readonly selinux: SelinuxLabels | undefined;
}
