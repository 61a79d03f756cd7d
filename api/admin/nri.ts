/** Of the admin API: NRI. */

export const NRI_PATH = '/v1/nri';

/** NRI and its plugins now. */
export interface NriState {
  readonly enabled: boolean;
  /** Where plugins connect; absent where they cannot. */
  readonly socket?: string | undefined;
  /** Those that get events in the order in which they are asked, then others; some that have gone behind them. */
  readonly plugins: readonly NriPlugin[];
}

export interface NriPlugin {
  /** Two digits. */
  readonly index: string;
  readonly name: string;
  /** `launched`: crisp has started it, from `nri.plugin_dir`. */
  readonly kind: 'connected' | 'launched';
  readonly pid?: number | undefined;
  /** `active`: it gets events. `ended`: it has gone, or was dropped. */
  readonly state: 'registering' | 'configuring' | 'synchronizing' | 'active' | 'ended';
  /** The version of NRI that it is built with; may be empty. */
  readonly nriVersion: string;
  /** To which it has subscribed; none unless it is active. */
  readonly events: readonly string[];
  /** When it connected; ISO 8601, UTC. */
  readonly since: string;
  /** By method. */
  readonly calls: readonly {
    readonly call: string;
    readonly count: number;
    readonly failed: number;
    /** Milliseconds: the median of the last 64, the longest of all, the last. */
    readonly medianMs: number;
    readonly maxMs: number;
    readonly lastMs: number;
  }[];
  /** Calls that wait for it now. */
  readonly waiting: number;
  /** `at`: ISO 8601, UTC. */
  readonly lastError?: { readonly at: string; readonly message: string } | undefined;
  /** Why it was dropped: `deadline`, `closed`, `protocol`, `backlog`, `refused`. */
  readonly dropped?: string | undefined;
}
