/**
 * The calls that a kubelet makes all the time: how long they take, and what they cost the daemon. Both sides have 50 pods of two
 * containers, and are asked in turns.
 */
import { CrispError } from '#core/errors.ts';
import { cpuMs } from './cpu-time.ts';
import type { Side } from './sides.ts';
import type { RowName, Samples } from './statistics.ts';

const CALLS = 20;
/** Of which the CPU time is taken: a tick of the kernel's clock is 10 ms. */
const COUNTED_CALLS = 1000;

/** `pods`: what a list must show. */
export async function reads(side: Side, pods: number, samples: Samples): Promise<void> {
  const { client, pid } = side.server;
  const timed = async (name: RowName, call: () => Promise<unknown>) => {
    for (let n = 0; n < CALLS; n += 1) {
      const started = performance.now();
      await call();
      samples.add(name, side.name, performance.now() - started);
    }
  };
  await timed('Version', () => client.Version({}));
  await timed('ListPodSandbox@50', async () => {
    const { items } = await client.ListPodSandbox({});
    if (items.length !== pods)
      throw new CrispError('Internal', `${side.name} lists ${items.length} pods of ${pods}`);
  });
  const before = cpuMs(pid);
  for (let n = 0; n < COUNTED_CALLS; n += 1) await client.Version({});
  samples.add('server CPU a call', side.name, ((cpuMs(pid) - before) * 1000) / COUNTED_CALLS);
}
