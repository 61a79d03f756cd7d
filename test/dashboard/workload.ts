/** What a node does in two minutes, so that each panel has something to show: pods come and go, some calls fail, images are pulled. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { cri } from '#api/cri/v1/index.ts';
import type { TestDaemon } from '../harness/daemon.ts';
import { buildImage, busyboxEntries, pushImage } from '../harness/images.ts';

const IMAGES = 6;
/** Bytes of each image's own layer, which does not compress well. */
const LAYER = 24 << 20;

const imageOf = (n: number) => {
  const content = Buffer.alloc(LAYER);
  for (let at = 0, state = n + 1; at < LAYER; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    content.writeUInt32LE(state, at);
  }
  return buildImage({
    layers: [
      { entries: busyboxEntries() },
      { entries: [{ name: './' }, { name: 'data', content }], compression: n % 2 === 0 ? 'zstd' : 'gzip' },
    ],
    config: { Env: ['PATH=/bin'], Cmd: ['sleep', '1000'] },
  });
};

/** Pushes the images that `work` pulls. */
export async function pushImages(url: string): Promise<void> {
  for (let n = 0; n < IMAGES; n++) await pushImage(url, 'node/app', `v${n}`, imageOf(n));
}

/** Works until the time is over, in ms. `registry`: its host. */
export async function work(
  daemon: TestDaemon,
  directory: string,
  registry: string,
  ms: number,
): Promise<void> {
  const end = performance.now() + ms;
  const isOver = (): boolean => performance.now() >= end;
  await Promise.all([
    pulls(daemon, registry, isOver),
    ...[0, 1, 2].map((n) => pods(daemon, directory, `${registry}/node/app:v0`, n, isOver)),
    kubelet(daemon, isOver),
  ]);
}

async function pulls({ client }: TestDaemon, registry: string, isOver: () => boolean): Promise<void> {
  for (let n = 1; !isOver(); n++) {
    const image = `${registry}/node/app:v${1 + (n % (IMAGES - 1))}`;
    await client.PullImage({ image: { image } });
    if (n % 3 === 0) await client.PullImage({ image: { image: `${registry}/node/none:v1` } }).catch(() => {});
    await sleep(4000);
    await client.RemoveImage({ image: { image } });
  }
}

async function pods(
  { client }: TestDaemon,
  directory: string,
  image: string,
  series: number,
  isOver: () => boolean,
): Promise<void> {
  await client.PullImage({ image: { image } });
  for (let n = 0; !isOver(); n++) {
    const config: cri.PodSandboxConfigInit = {
      metadata: { name: `app-${series}-${n}`, uid: `${series}-${n}`, namespace: 'default', attempt: 0 },
      logDirectory: join(directory, 'logs', `${series}-${n}`),
      linux: {},
    };
    const { podSandboxId } = await client.RunPodSandbox({ config });
    for (const name of ['main', 'side']) await run(client, podSandboxId, config, name, image);
    await sleep(1500 + 700 * series);
    await client.StopPodSandbox({ podSandboxId });
    await client.RemovePodSandbox({ podSandboxId });
  }
}

async function run(
  client: TestDaemon['client'],
  podSandboxId: string,
  sandboxConfig: cri.PodSandboxConfigInit,
  name: string,
  image: string,
): Promise<void> {
  const config = { metadata: { name, attempt: 0 }, image: { image }, logPath: `${name}.log`, linux: {} };
  const { containerId } = await client.CreateContainer({ podSandboxId, config, sandboxConfig });
  await client.StartContainer({ containerId });
  await client.ExecSync({ containerId, cmd: ['true'] });
}

/** What a kubelet asks all the time, and a call that fails. */
async function kubelet({ client }: TestDaemon, isOver: () => boolean): Promise<void> {
  for (let n = 0; !isOver(); n++) {
    await client.ListPodSandbox({});
    await client.ListContainers({});
    if (n % 10 === 0) await client.ListContainerStats({});
    if (n % 5 === 0) await client.ContainerStatus({ containerId: 'gone' }).catch(() => {});
    await sleep(1000);
  }
}
