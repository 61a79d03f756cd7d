/** The command line of the cluster test. */
import { parseArgs } from 'node:util';
import { CrispError } from '#core/errors.ts';

export interface ClusterTestOptions {
  /** A kubeconfig; else `KUBECONFIG`, `~/.kube/config`, or the service account of a pod. */
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
  /** The node to test; else one that is Ready, of crisp where there is one. */
  readonly node: string | undefined;
  /** Of all containers: it must have sh, httpd, wget and the usual small programs, as busybox has. */
  readonly image: string;
  /** Names or areas of cases; empty for all. */
  readonly only: readonly string[];
  /** Files, `.json` or `.md`. */
  readonly reports: readonly string[];
  /** Leaves the namespace with all that is in it. */
  readonly keep: boolean;
  /** Cases at a time. */
  readonly parallel: number;
  /** The deadline of each wait, in milliseconds. */
  readonly timeoutMs: number;
  /** Prints the cases and runs none. */
  readonly list: boolean;
}

export const DEFAULT_IMAGE = 'docker.io/library/busybox:1.36';

export const USAGE = `usage: npm run cluster-test -- [--kubeconfig FILE] [--context NAME] [--node NAME] [--image REF] [--only NAME]...
                               [--report FILE.json|FILE.md]... [--parallel N] [--timeout SECONDS] [--keep] [--list]`;

const refuse = (message: string): CrispError => new CrispError('InvalidArgument', message, { hint: USAGE });

function number(flag: string, text: string | undefined, fallback: number, max: number): number {
  if (text === undefined) return fallback;
  const value = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > max) throw refuse(`--${flag} is a number from 1 to ${max}, not '${text}'`);
  return value;
}

function parseWords(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        kubeconfig: { type: 'string' },
        context: { type: 'string' },
        node: { type: 'string' },
        image: { type: 'string' },
        only: { type: 'string', multiple: true },
        report: { type: 'string', multiple: true },
        parallel: { type: 'string' },
        timeout: { type: 'string' },
        keep: { type: 'boolean', default: false },
        list: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw refuse(error instanceof Error ? error.message : String(error));
  }
}

/** Throws InvalidArgument with the usage as its hint. */
export function parseOptions(args: readonly string[]): ClusterTestOptions {
  const given = parseWords(args);
  const empty = Object.entries(given).find(([, value]) => value === '' || [value].flat().includes(''));
  if (empty) throw refuse(`--${empty[0]} is empty`);
  const reports = given.report ?? [];
  for (const file of reports)
    if (!/\.(json|md)$/.test(file))
      throw refuse(`--report is a file that ends in .json or .md, not '${file}'`);
  return {
    kubeconfig: given.kubeconfig,
    context: given.context,
    node: given.node,
    image: given.image ?? DEFAULT_IMAGE,
    only: given.only ?? [],
    reports,
    keep: given.keep,
    parallel: number('parallel', given.parallel, 4, 50),
    timeoutMs: number('timeout', given.timeout, 180, 3600) * 1000,
    list: given.list,
  };
}
