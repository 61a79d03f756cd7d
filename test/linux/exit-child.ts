/** Ends while two watches of the kernel are about to fire. */

import { readStat } from '#linux/identity.ts';
import { openKernel } from '#linux/index.ts';

const kernel = await openKernel();
const child = await kernel.processes.spawn({ argv: ['sleep', '1000'], env: {} });
void kernel.namespaces.watch(child.process, new AbortController().signal);
kernel.processes.signal(child.process, 9);
while (readStat(child.process.pid)?.state !== 'Z');
process.exit(7);
