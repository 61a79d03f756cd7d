import { CrispError, describeError } from './errors.ts';
import type { Operation } from './operation.ts';

/**
 * Runs steps that do not depend on each other's success, one after another: a failure is logged with the step's name
 * and does not prevent the others. Throws Internal at the end, with all that failed, where anything did.
 */
export async function runEach(
  op: Operation,
  steps: Readonly<Record<string, () => Promise<void> | void>>,
): Promise<void> {
  const failures: { name: string; error: unknown }[] = [];
  for (const [name, step] of Object.entries(steps)) {
    try {
      await op.stage(name, step);
    } catch (error) {
      failures.push({ name, error });
      op.log.error({ step: name, error: describeError(error) }, 'a step has failed; the others continue');
    }
  }
  const [first] = failures;
  if (!first) return;
  const text = failures.map(({ name, error }) => `${name}: ${describeError(error)}`).join('; ');
  throw new CrispError('Internal', `${op.name}: ${text}`, {
    cause: first.error,
    hint: 'fix the named causes, then restart the daemon',
  });
}
