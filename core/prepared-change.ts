/**
 * New options of one part of the daemon: checked, and what they need is open, beside the options in effect. So the options
 * of several parts change together or not at all.
 */
export interface PreparedChange {
  /** The new options are in effect from now on. Never throws. */
  apply(): void;
  /** They are not wanted: closes what was opened for them. */
  discard(): void | Promise<void>;
}
