/**
 * One pod's attachment to one network. It is recorded before ADD with everything that ADD and DEL need, the
 * configuration included, so that DEL works when the configuration has changed or gone, and after a reboot.
 */
import type { NetworkConfig } from './conflist.ts';
import type { CniResult } from './result.ts';

/** How far an ADD has come that failed, by the places in the list of plugins, or the native way's names of its parts. */
export interface AddProgress {
  /** What has begun; the rest was never done, and is not undone. */
  readonly begun: readonly string[];
  /** What has failed in so many words: it owes nothing that its undo cannot undo. */
  readonly refused: readonly string[];
}

export interface Attachment {
  /** As it was at ADD. */
  readonly config: NetworkConfig;
  /** Name of the interface inside the pod. */
  readonly interfaceName: string;
  /** CNI_ARGS. */
  readonly args: string;
  /** What the plugins that declare the capability get as `runtimeConfig`. */
  readonly capabilities: Readonly<Record<string, unknown>>;
  /** Who carries it out, for DEL too; absent: the plugins. */
  readonly way?: 'native';
  /** Of an ADD that has failed; absent: it has succeeded, or the daemon ended meanwhile and all may be there. */
  readonly failedAdd?: AddProgress;
  /** undefined until ADD has succeeded. */
  readonly result: CniResult | undefined;
  /** The pod's addresses without prefix lengths, the primary one first, no repeats. */
  readonly ips: readonly string[];
}
