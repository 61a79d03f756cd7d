import { CrispError, codeOf, describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { ContainerRecord } from '../container.ts';
import type { Containers } from '../containers.ts';

/**
 * Does the same with all containers of a pod, in parallel. `done` is its participle. Throws the first failure, with
 * its code, after trying all.
 */
export async function allOfPod(
  containers: Pick<Containers, 'ofSandbox'>,
  sandbox: SandboxId,
  done: string,
  act: (record: ContainerRecord) => Promise<void>,
): Promise<void> {
  const records = containers.ofSandbox(sandbox);
  const outcomes = await Promise.allSettled(records.map(act));
  const failed = outcomes.filter((outcome) => outcome.status === 'rejected');
  if (!failed[0]) return;
  const code = codeOf(failed[0].reason);
  throw new CrispError(
    code === 'NotFound' ? 'Internal' : code, // to the kubelet NOT_FOUND is a pod that is gone
    `${failed.length} of ${records.length} containers could not be ${done}: ${describeError(failed[0].reason)}`,
    { cause: failed[0].reason, hint: 'retry: it goes on where it stopped' },
  );
}
