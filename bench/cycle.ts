/** One pod after another, each call timed by the client. */
import { CrispError } from '#core/errors.ts';
import { type Pods, stopContainer } from './pods.ts';
import type { Side } from './sides.ts';
import type { RowName, Samples } from './statistics.ts';

export async function cycle(side: Side, pods: Pods, samples: Samples): Promise<void> {
  const { client } = side.server;
  const timed = async <T>(name: RowName, call: Promise<T>, started = performance.now()): Promise<T> => {
    const value = await call;
    samples.add(name, side.name, performance.now() - started);
    return value;
  };
  const sandboxConfig = pods.sandboxConfig(side);
  const { podSandboxId } = await timed('RunPodSandbox', client.RunPodSandbox({ config: sandboxConfig }));
  const config = pods.containerConfig();
  const created = performance.now();
  const { containerId } = await timed(
    'CreateContainer',
    client.CreateContainer({ podSandboxId, config, sandboxConfig }),
    created,
  );
  await timed('StartContainer', client.StartContainer({ containerId }));
  samples.add('Create+Start', side.name, performance.now() - created);
  const { exitCode } = await timed('ExecSync', client.ExecSync({ containerId, cmd: ['true'] }));
  if (exitCode !== 0)
    throw new CrispError('Internal', `${side.name}: ExecSync of true exited with ${exitCode}`);
  await timed('StopContainer', stopContainer(side, containerId));
  await timed('RemoveContainer', client.RemoveContainer({ containerId }));
  await timed('StopPodSandbox', client.StopPodSandbox({ podSandboxId }));
  await timed('RemovePodSandbox', client.RemovePodSandbox({ podSandboxId }));
}
