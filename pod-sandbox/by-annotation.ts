/** What annotations of a pod change, as far as they are allowed. */
import type { Log } from '#core/operation.ts';
import type { SandboxConfig } from './config.ts';
import { requestedCapabilities } from './network/cni/requested-address.ts';
import { shmSize } from './shm-size.ts';

export interface ByAnnotation {
  /** Of its /dev/shm; undefined: the default. */
  readonly shmBytes: number | undefined;
  /** Capabilities of CNI for its first network. */
  readonly requested: Readonly<Record<string, unknown>>;
}

/** `allowed`: prefixes of keys. Throws InvalidArgument for one that is allowed and not valid. */
export const annotated = (config: SandboxConfig, allowed: readonly string[], log: Log): ByAnnotation => ({
  shmBytes: shmSize(config, allowed, log),
  requested: requestedCapabilities(config.annotations, {
    allowed,
    ownNetwork: config.linux.security.namespaces.network === 'pod',
    log,
  }),
});
