/** Jobs. */
import assert from 'node:assert/strict';
import type { V1Pod } from '@kubernetes/client-node';
import type { Case } from '../case.ts';
import { since } from '../needs.ts';
import type { Trial } from '../trial.ts';

const podsOf = (trial: Trial, job: string): V1Pod[] =>
  trial.cluster.pods
    .all()
    .filter(({ metadata }) => metadata?.labels?.['batch.kubernetes.io/job-name'] === job);

async function parallel(trial: Trial): Promise<void> {
  const script = 'echo "index $JOB_COMPLETION_INDEX"';
  const spec = { completions: 6, parallelism: 3, completionMode: 'Indexed' };
  const name = await trial.createJob(spec, { containers: [{ script }] });
  const job = await trial.untilJob(name, 'Complete', 'Failed');
  assert.deepEqual([job.status?.succeeded, job.status?.failed ?? 0], [6, 0]);
  assert.equal(job.status?.completedIndexes, '0-5');
  const logs = await Promise.all(podsOf(trial, name).map(({ metadata }) => trial.log(metadata?.name ?? '')));
  assert.deepEqual(
    logs.sort(),
    [0, 1, 2, 3, 4, 5].map((index) => `index ${index}\n`),
  );
}

async function backOffLimit(trial: Trial): Promise<void> {
  const name = await trial.createJob({ backoffLimit: 1 }, { containers: [{ script: 'exit 9' }] });
  const job = await trial.untilJob(name, 'Complete', 'Failed');
  assert.equal(job.status?.failed, 2);
  assert.equal(job.status?.conditions?.find(({ type }) => type === 'Failed')?.reason, 'BackoffLimitExceeded');
}

async function failurePolicy(trial: Trial): Promise<void> {
  const podFailurePolicy = {
    rules: [{ action: 'FailJob', onExitCodes: { containerName: 'main', operator: 'In', values: [42] } }],
  };
  const name = await trial.createJob(
    { backoffLimit: 6, podFailurePolicy },
    { containers: [{ script: 'exit 42' }] },
  );
  const job = await trial.untilJob(name, 'Complete', 'Failed');
  const failed = job.status?.conditions?.find(({ type }) => type === 'Failed');
  assert.equal(failed?.reason, 'PodFailurePolicy', failed?.message);
  assert.match(failed?.message ?? '', /exit code 42/);
}

export const JOB_CASES: readonly Case[] = [
  { name: 'jobs/parallel', about: 'six completions, three at a time, by index', run: parallel },
  { name: 'jobs/back-off-limit', about: 'a job that fails as often as it may', run: backOffLimit },
  {
    name: 'jobs/failure-policy',
    about: 'an exit code fails the job at once',
    needs: [since(26, 'pod failure policy')],
    run: failurePolicy,
  },
];
