import type { Node } from '#daemon/preflight/node.ts';

/** `warning`: crisp runs, and something of it is missing or slower. */
export type Status = 'ok' | 'warning' | 'failure';

/** What one check has found. */
export interface Result {
  readonly status: Status;
  readonly found: string;
  /** What to install or set; with every warning and failure. */
  readonly remedy?: string;
}

/** A check of the node. It may throw: that is a failure, with the error's hint as the remedy. */
export interface Check {
  /** Stable: programs that read `--output json` find it by this. */
  readonly id: string;
  run(node: Node, signal: AbortSignal): Promise<Result> | Result;
}

export const ok = (found: string): Result => ({ status: 'ok', found });
export const warning = (found: string, remedy: string): Result => ({ status: 'warning', found, remedy });
export const failure = (found: string, remedy: string): Result => ({ status: 'failure', found, remedy });
