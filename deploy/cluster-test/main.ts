/**
 * `npm run cluster-test`: what a node's runtime must do for Kubernetes, tried through the API server of any cluster. It creates one
 * namespace and deletes it at the end, also after ctrl-C. docs/operators.md has the options.
 */
import { accessSync, constants, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { CoreV1Event, V1Job, V1Pod } from '@kubernetes/client-node';
import { CrispError, describeError } from '#core/errors.ts';
import type { Case } from './case.ts';
import { CASES } from './cases/index.ts';
import { connect } from './cluster/connect.ts';
import { type Facts, readFacts } from './cluster/facts.ts';
import {
  awaitServiceAccount,
  createNamespace,
  deleteNamespace,
  namespaceName,
  nodeEvents,
  otherRuns,
} from './cluster/namespace.ts';
import { ApiError, describeFailure, type Rest } from './cluster/rest.ts';
import { Watched } from './cluster/watched.ts';
import { MANAGED_BY } from './manifest.ts';
import { unmet } from './needs.ts';
import { type ClusterTestOptions, parseOptions } from './options.ts';
import { exitCodeOf, type Report, reportOf } from './report/report.ts';
import { headLine, markdown, totalsLine, verdictLines } from './report/text.ts';
import { runCases } from './run.ts';
import { select } from './select.ts';
import { type Cluster, Trial } from './trial.ts';

const say = (lines: readonly string[]): void => console.log(lines.join('\n'));
const note = (text: string): void => console.error(`cluster-test: ${text}`);

/** The first signal ends the run, with its namespace; the second one ends the process. */
function interruption(namespace: () => string | undefined): AbortSignal {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) {
      const name = namespace();
      note(name ? `left behind: kubectl delete namespace ${name}` : 'ended');
      process.exit(130);
    }
    note('interrupted: deleting the namespace; once more to end at once');
    controller.abort(new CrispError('Cancelled', 'the run was interrupted'));
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  return controller.signal;
}

interface Run {
  readonly rest: Rest;
  readonly facts: Facts;
  readonly namespace: string;
  readonly options: ClusterTestOptions;
  readonly signal: AbortSignal;
}

/** Runs the cases in the namespace. */
async function runIn({ rest, facts, namespace, options, signal }: Run, chosen: readonly Case[]) {
  const { image, timeoutMs, parallel, keep } = options;
  await awaitServiceAccount(rest, namespace, { timeoutMs, signal });
  const path = `/api/v1/namespaces/${namespace}`;
  const pods = new Watched<V1Pod>(rest, `${path}/pods`);
  const events = new Watched<CoreV1Event>(rest, `${path}/events`);
  const jobs = new Watched<V1Job>(rest, `/apis/batch/v1/namespaces/${namespace}/jobs`);
  const following = new AbortController();
  const followed = [pods, events, jobs].map((watched) => watched.follow(following.signal));
  const cluster: Cluster = { rest, facts, namespace, image, timeoutMs, pods, events, jobs };
  try {
    return await runCases(chosen, {
      parallel,
      keep,
      signal,
      unmet: (needs) => unmet(needs, facts),
      trialOf: ({ name }) => new Trial(cluster, name, signal),
      nodeEvents: (since) => nodeEvents(rest, facts.node.name, since),
      onVerdict: (verdict) => say(verdictLines(verdict)),
    });
  } finally {
    following.abort();
    await Promise.all(followed);
  }
}

/** Also where the cases could not be run: the namespace goes. */
async function removeNamespace(
  run: Pick<Run, 'rest' | 'namespace' | 'options'>,
): Promise<string | undefined> {
  const { rest, namespace, options } = run;
  if (options.keep) {
    note(`kept: kubectl delete namespace ${namespace}`);
    return undefined;
  }
  const signal = new AbortController().signal; // the run's own may be the reason why we are here
  return await deleteNamespace(rest, namespace, { timeoutMs: options.timeoutMs, signal });
}

async function test(options: ClusterTestOptions): Promise<Report> {
  const chosen = select(CASES, options.only);
  const rest = connect(options.kubeconfig, options.context);
  let namespace: string | undefined;
  const signal = interruption(() => namespace);
  const started = new Date();
  const facts = await readFacts(rest, options.node, signal);
  say([headLine(facts)]);
  const others = await otherRuns(rest, MANAGED_BY, signal);
  if (others.length > 0) note(`namespaces of other runs are there, and are left alone: ${others.join(', ')}`);
  namespace = namespaceName();
  const run: Run = { rest, facts, namespace, options, signal };
  const ran = { started, facts, image: options.image, namespace };
  try {
    await createNamespace(rest, namespace, MANAGED_BY).catch((error: unknown) => {
      if (error instanceof ApiError) namespace = undefined; // refused: there is nothing to delete
      throw error;
    });
    say([`namespace ${namespace}, image ${options.image}, ${chosen.length} cases`, '']);
    const verdicts = await runIn(run, chosen);
    const leftover = await removeNamespace(run);
    namespace = undefined;
    return reportOf({ ...ran, ended: new Date(), verdicts, leftover, interrupted: signal.aborted });
  } finally {
    if (namespace !== undefined) {
      const leftover = await removeNamespace(run);
      if (leftover !== undefined) note(`left behind: ${leftover}`);
    }
  }
}

/** Before anything is created: a run takes minutes. */
function assertWritable(files: readonly string[]): void {
  for (const file of files) {
    try {
      accessSync(dirname(resolve(file)), constants.W_OK);
    } catch (cause) {
      throw new CrispError('InvalidArgument', `the report ${file} cannot be written`, {
        cause,
        hint: 'name a file in a directory that exists and can be written',
      });
    }
  }
}

function write(report: Report, files: readonly string[]): void {
  for (const file of files)
    writeFileSync(
      file,
      file.endsWith('.md') ? markdown(report) : `${JSON.stringify(report, undefined, 2)}\n`,
    );
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options.list) {
    say(select(CASES, options.only).map(({ name, about }) => `${name.padEnd(32)}${about}`));
    return 0;
  }
  assertWritable(options.reports);
  const report = await test(options);
  write(report, options.reports);
  say([
    '',
    totalsLine(report),
    ...(report.leftover === undefined ? [] : [`left behind: ${report.leftover}`]),
  ]);
  return exitCodeOf(report);
}

try {
  process.exitCode = await main();
} catch (error) {
  const hint = error instanceof CrispError ? `\n${error.hint}` : '';
  note(`${error instanceof CrispError ? describeError(error) : describeFailure(error)}${hint}`);
  const usage = error instanceof CrispError && error.code === 'InvalidArgument';
  process.exitCode = usage ? 2 : error instanceof CrispError && error.code === 'Cancelled' ? 130 : 1;
}
