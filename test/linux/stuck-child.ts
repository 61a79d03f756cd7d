/** Opens a kernel, lets an act of it get stuck at the FIFO that is named, and ends with 6 and the number of threads left. */

import { openKernel } from '#linux/index.ts';
import { exitNow } from '#linux/process/exit.ts';

const kernel = await openKernel({ workers: { requestMs: 500 } });
await kernel.namespaces.pinEmptyNetwork(process.argv[2] ?? '').catch(() => {});
exitNow(6 + (await kernel.close()));
