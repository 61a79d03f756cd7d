/** `sh bin/setup --packages`: fetches Node and koffi for the architectures that this machine does not have. Quick where they are there. */
import { join } from 'node:path';
import { CrispError, describeError } from '#core/errors.ts';
import { ARCHITECTURES } from './architectures.ts';
import { fetchPackages, nativePackages } from './npm-packages.ts';

try {
  fetchPackages(join(import.meta.dirname, '../..'), ARCHITECTURES.flatMap(nativePackages));
} catch (error) {
  console.error(`setup: ${describeError(error)}`);
  if (error instanceof CrispError) console.error(`hint: ${error.hint}`);
  process.exitCode = 1;
}
