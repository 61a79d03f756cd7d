import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Mounts } from '#linux/ports/kernel.ts';

/** A directory of the test's own, emptied of mounts and deleted at its end. */
export function scratch(t: TestContext, mounts?: Mounts): string {
  const root = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'linux-'));
  t.after(async () => {
    for (const { target } of mounts?.below(root).toReversed() ?? []) await mounts?.unmount(target);
    rmSync(root, { recursive: true, force: true });
  });
  return root;
}
