/** The registries of the bench, as each side's configuration needs them. */
import type { BenchEnvironment } from './running-side.ts';

/** A registry that exists only as mirrors. */
export const MIRRORED = 'mirrored.test';

/** The URLs at which each registry is asked, in their order. */
export const endpointsOf = ({
  registry,
  mirrors = [],
}: Pick<BenchEnvironment, 'registry' | 'mirrors'>): Readonly<Record<string, readonly string[]>> => ({
  [registry]: [`http://${registry}`],
  [MIRRORED]: mirrors,
});
