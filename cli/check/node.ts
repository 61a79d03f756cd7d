/** `crisp check`: a table of small checks, one line of output for each. */
import type { Config } from '#config/index.ts';
import { CrispError, describeError } from '#core/errors.ts';
import { Node } from '#daemon/preflight/node.ts';
import type { Terminal } from '../ctl/context.ts';
import { printable } from '../format.ts';
import { kernelChecks } from './kernel.ts';
import { networkChecks } from './network.ts';
import { programChecks } from './programs.ts';
import { resourceChecks } from './resources.ts';
import { type Check, failure, type Result } from './result.ts';
import { storageChecks } from './storage.ts';

export const checks: readonly Check[] = [
  ...kernelChecks,
  ...resourceChecks,
  ...programChecks,
  ...networkChecks,
  ...storageChecks,
];

/** What `--output json` prints; keys and ids are stable. */
export interface NodeDocument {
  readonly ok: boolean;
  readonly checks: readonly (Result & { readonly id: string })[];
}

/** How long one check may take, in ms. */
const LIMIT_MS = 90_000;
const WIDTH = Math.max(...checks.map(({ id }) => id.length));

/** `warning  inotify  128 instances, …; remedy: sysctl …`. */
export function resultText(id: string, { status, found, remedy }: Result): string {
  const rest = remedy === undefined ? '' : `; remedy: ${remedy}`;
  return `${status.padEnd(7)}  ${id.padEnd(WIDTH)}  ${printable(`${found}${rest}`.replaceAll('\n', ' '))}\n`;
}

/** Runs all checks and prints what they find; 0 where there is no failure, else 1. Leaves nothing behind. */
export async function checkNode(
  config: Config,
  output: 'text' | 'json',
  terminal: Terminal,
  signal: AbortSignal,
): Promise<number> {
  await using node = new Node(config);
  const results: (Result & { readonly id: string })[] = [];
  for (const check of checks) {
    signal.throwIfAborted();
    const result = await resultOf(check, node, signal);
    results.push({ id: check.id, ...result });
    if (output === 'text') terminal.out(resultText(check.id, result));
  }
  const isOk = results.every(({ status }) => status !== 'failure');
  const document: NodeDocument = { ok: isOk, checks: results };
  if (output === 'json') terminal.out(`${JSON.stringify(document, undefined, 2)}\n`);
  return isOk ? 0 : 1;
}

/** A check that throws has failed, with the remedy of its error. */
export async function resultOf(check: Check, node: Node, signal: AbortSignal): Promise<Result> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(LIMIT_MS)]);
  const late = Promise.withResolvers<never>();
  const onAbort = () =>
    late.reject(
      signal.aborted
        ? new CrispError('Cancelled', 'interrupted')
        : new CrispError('DeadlineExceeded', `no answer within ${LIMIT_MS / 1000} s`, {
            hint: 'something of the node is stuck: see the kernel log',
          }),
    );
  limited.addEventListener('abort', onAbort, { once: true });
  late.promise.catch(() => {});
  try {
    return await Promise.race([Promise.resolve(check.run(node, limited)), late.promise]);
  } catch (error) {
    if (signal.aborted) throw error;
    return failure(
      describeError(error),
      error instanceof CrispError ? error.hint : 'report this with the output',
    );
  } finally {
    limited.removeEventListener('abort', onAbort);
  }
}
