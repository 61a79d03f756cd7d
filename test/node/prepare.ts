/**
 * Builds the virtual node's disk before its suite begins: the packages come over the network, which the suites' own
 * network namespace does not have. Quick where the disk is there. What fails here fails in the suite as well.
 */
import { describeError } from '#core/errors.ts';
import { nodeImage, obstacle } from './cache.ts';

try {
  const why = obstacle();
  if (why === undefined) await nodeImage();
  else console.log(`node: no virtual machine here: ${why}`);
} catch (error) {
  console.error(`node: ${describeError(error)}`);
  process.exitCode = 1;
}
