import type { Settings } from '../harness/pods.ts';

const RUN =
  'program=$1; shift; exec "$program" --max-semi-space-size=1 --memory-saver-mode --v8-pool-size=1 "$@"';

/**
 * A daemon with the memory settings of bin/crisp: with many arenas, and a heap that grows early, memory that sessions have
 * freed stays allocated, and measurements would not show what they keep.
 */
export const asInstalled: Settings = {
  environment: { MALLOC_ARENA_MAX: '1' },
  wrapper: ['sh', '-c', RUN, 'sh'],
};
