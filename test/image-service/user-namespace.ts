import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Kernel } from '#linux/ports/kernel.ts';
import { scratch } from '../linux/scratch.ts';

const ids = [{ containerId: 0, hostId: 400_000, length: 1000 }];

/** The pin of a user namespace in which the ids from 400000 on are those from 0 on; it goes with the test. */
export async function userNamespace(t: TestContext, kernel: Kernel): Promise<string> {
  const pins = mkdtempSync(join(scratch(t, kernel.mounts), 'pins-'));
  const wanted = { kinds: ['user', 'uts'], pins, sysctls: {}, oomScoreAdj: 0 } as const;
  const held = await kernel.namespaces.hold(
    { ...wanted, userNamespace: { uids: ids, gids: ids } },
    AbortSignal.timeout(60_000),
  );
  t.after(async () => {
    await held.abandon();
    await kernel.namespaces.unpin(pins);
  });
  return held.pins.user ?? '';
}
