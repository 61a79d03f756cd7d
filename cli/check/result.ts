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

/** Several results as one: the worst status, what was found of each, and the remedies. */
export function together(results: readonly Result[]): Result {
  const [first, ...others] = results;
  if (first && others.length === 0) return first;
  const status = (['failure', 'warning'] as const).find((one) =>
    results.some((result) => result.status === one),
  );
  const remedies = new Set(results.flatMap(({ remedy }) => (remedy === undefined ? [] : [remedy])));
  const found = results.map((result) => result.found).join('; ');
  return {
    status: status ?? 'ok',
    found,
    ...(remedies.size > 0 ? { remedy: [...remedies].join('; ') } : {}),
  };
}

export const ok = (found: string): Result => ({ status: 'ok', found });
export const warning = (found: string, remedy: string): Result => ({ status: 'warning', found, remedy });
export const failure = (found: string, remedy: string): Result => ({ status: 'failure', found, remedy });
