/** RuntimeClasses of the cluster: none is created, as they belong to no namespace. */
import assert from 'node:assert/strict';
import { type Case, Skip } from '../case.ts';
import type { Trial } from '../trial.ts';

async function each(trial: Trial): Promise<void> {
  const { runtimeClasses, node } = trial.facts;
  if (runtimeClasses.length === 0) throw new Skip('the cluster has no RuntimeClass that this user can see');
  const known = node.handlers.map(({ name }) => name);
  const usable = runtimeClasses.filter(({ handler }) => known.length === 0 || known.includes(handler));
  if (usable.length === 0)
    throw new Skip(
      `the node has none of the handlers ${runtimeClasses.map(({ handler }) => handler).join(', ')}`,
    );
  for (const { name: runtimeClassName } of usable) {
    const log = await trial
      .finish(
        { runtimeClassName, containers: [{ script: 'echo runs' }] },
        runtimeClassName.replaceAll('.', '-'),
      )
      .then((finished) => finished.log);
    assert.equal(log, 'runs\n', runtimeClassName);
  }
}

export const CLASS_CASES: readonly Case[] = [
  { name: 'runtime-class/each', about: 'a pod with each RuntimeClass whose handler the node has', run: each },
];
