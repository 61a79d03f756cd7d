/** Ends by itself, without closing the kernel, while the watch of a pause process is about to fire. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openKernel } from '#linux/index.ts';
import { readStat } from '#linux/process/identity.ts';

const { namespaces, processes } = await openKernel();
const pins = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'exit-'));
const held = await namespaces.hold(
  { kinds: ['ipc'], pins, sysctls: {}, oomScoreAdj: 0 },
  AbortSignal.timeout(20_000),
);
await held.release();
await namespaces.unpin(pins);
rmSync(pins, { recursive: true });
process.on('beforeExit', () => {
  processes.signal(held.process, 9);
  while (readStat(held.process.pid)?.state !== 'Z');
});
process.exitCode = 7;
