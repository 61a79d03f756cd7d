/**
 * A daemon of a test: holds a pod's namespaces in the directory of its first argument, and with `release` lets the pause
 * process go; prints its reference; then waits to be killed.
 */
import { openKernel } from '#linux/index.ts';

const [pins = '', verb = 'hold'] = process.argv.slice(2);
const kernel = await openKernel();
const held = await kernel.namespaces.hold(
  { kinds: ['net', 'ipc', 'uts', 'pid'], pins, hostname: 'pod', sysctls: {}, oomScoreAdj: 0 },
  AbortSignal.timeout(20_000),
);
if (verb === 'release') await held.release();
process.stdout.write(`${JSON.stringify(held.process)}\n`);
setInterval(() => {}, 1000);
