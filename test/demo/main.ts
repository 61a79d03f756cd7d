/**
 * `npm run demo`: a real registry, a real daemon, a pod with two containers through the CRI
 * socket; each call with its stages and their times. It runs in its own network and mount namespace and leaves
 * nothing behind, which it checks at the end.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { cri } from '#api/cri/v1/index.ts';
import { type DaemonSettings, startDaemon, type TestDaemon } from '../harness/daemon.ts';
import { buildImage, busyboxEntries, pushImage } from '../harness/images.ts';
import { runIsolated } from '../harness/own-namespaces.ts';
import { startRegistry } from '../image-service/registry.ts';
import { countLeftovers, type Leftovers } from './leftovers.ts';
import { type Timed, timed } from './stages.ts';

const METRICS = '127.0.0.1:19090';
const HOST_PORT = 18080;
const PAGE = 'hello from the web container\n';

const print = (name: string, text: string): void => console.log(`${name.padEnd(24)} ${text}`);

function printCall(name: string, { ms, stages }: Timed<unknown>): void {
  const shown = stages
    .filter((stage) => stage.ms >= 0.05)
    .map((stage) => `${stage.name} ${stage.ms.toFixed(1)}`);
  print(name, `${ms.toFixed(1).padStart(7)} ms   ${shown.join(', ')}`);
}

function expect(condition: boolean, what: string): void {
  if (!condition) throw new Error(`the demo expected: ${what}`);
}

/** Two layers: the machine's busybox, and a page for its web server. */
function demoImage() {
  return buildImage({
    layers: [
      { entries: busyboxEntries() },
      {
        entries: [
          { name: './' },
          { name: 'var/' },
          { name: 'var/www/' },
          { name: 'var/www/index.html', content: PAGE },
          // The kubelet mounts this file; without it localhost would be resolved by DNS.
          { name: 'etc/' },
          { name: 'etc/hosts', content: '127.0.0.1 localhost\n' },
        ],
        compression: 'zstd',
      },
    ],
    config: { Env: ['PATH=/bin'], Cmd: ['httpd', '-f', '-v', '-p', '8080', '-h', '/var/www'] },
  });
}

const sandboxConfig = (directory: string): cri.PodSandboxConfigInit => ({
  metadata: { name: 'demo', uid: 'demo-uid', namespace: 'default', attempt: 0 },
  hostname: 'demo',
  logDirectory: join(directory, 'logs'),
  dnsConfig: { servers: ['10.0.0.10'], searches: ['default.svc.cluster.local'], options: ['ndots:5'] },
  portMappings: [{ protocol: 0, containerPort: 8080, hostPort: HOST_PORT, hostIp: '' }],
  labels: { app: 'demo' },
  linux: {},
});

const containerConfig = (
  name: string,
  image: string,
  command: readonly string[],
): cri.ContainerConfigInit => ({
  metadata: { name, attempt: 0 },
  image: { image },
  command,
  logPath: `${name}.log`,
  linux: { securityContext: { seccomp: { profileType: 0 } } },
});

class Demo {
  readonly daemon: TestDaemon;
  readonly directory: string;

  constructor(daemon: TestDaemon, directory: string) {
    this.daemon = daemon;
    this.directory = directory;
  }

  async call<T>(name: string, operation: string, act: () => Promise<T>): Promise<Timed<T>> {
    const result = await timed(METRICS, operation, act);
    printCall(name, result);
    return result;
  }

  async container(
    pod: string,
    config: cri.ContainerConfigInit,
    sandbox: cri.PodSandboxConfigInit,
  ): Promise<string> {
    const { client } = this.daemon;
    const name = config.metadata?.name;
    const created = await this.call(`CreateContainer ${name}`, 'CreateContainer', () =>
      client.CreateContainer({ podSandboxId: pod, config, sandboxConfig: sandbox }),
    );
    const id = created.value.containerId;
    await this.call(`StartContainer ${name}`, 'StartContainer', () =>
      client.StartContainer({ containerId: id }),
    );
    return id;
  }

  async pull(reference: string): Promise<string> {
    const { value, lagP99 } = await this.call('PullImage', 'PullImage', () =>
      this.daemon.client.PullImage({ image: { image: reference } }),
    );
    print('', `event loop delay of the daemon during the pull: p99 ${lagP99.toFixed(1)} ms`);
    return value.imageRef;
  }

  log(name: string): string[] {
    return readFileSync(join(this.directory, 'logs', `${name}.log`), 'utf8')
      .split('\n')
      .filter(Boolean);
  }
}

async function runPod(demo: Demo, reference: string): Promise<void> {
  const { client } = demo.daemon;
  const image = await demo.pull(reference);
  const sandbox = sandboxConfig(demo.directory);
  const run = await demo.call('RunPodSandbox', 'RunPodSandbox', () =>
    client.RunPodSandbox({ config: sandbox }),
  );
  const pod = run.value.podSandboxId;
  const web = await demo.container(pod, containerConfig('web', image, []), sandbox);
  const asking = ['sh', '-c', 'while :; do wget -qO- http://localhost:8080; sleep 1; done'];
  const client2 = await demo.container(pod, containerConfig('client', image, asking), sandbox);
  await showPodWorking(demo, pod, client2);
  await demo.call('StopContainer client', 'StopContainer', () =>
    client.StopContainer({ containerId: client2, timeout: undefined }),
  );
  await demo.call('RemoveContainer client', 'RemoveContainer', () =>
    client.RemoveContainer({ containerId: client2 }),
  );
  await demo.call('StopPodSandbox', 'StopPodSandbox', () => client.StopPodSandbox({ podSandboxId: pod }));
  const ended = (await client.ContainerStatus({ containerId: web })).status;
  expect(ended?.exitCode === 137 && ended.finishedAt.toString() !== '0', 'StopPodSandbox ended web with 137');
  await demo.call('RemovePodSandbox', 'RemovePodSandbox', () =>
    client.RemovePodSandbox({ podSandboxId: pod }),
  );
  await demo.call('RemoveImage', 'RemoveImage', () => client.RemoveImage({ image: { image } }));
}

async function showPodWorking(demo: Demo, pod: string, container: string): Promise<void> {
  const { client } = demo.daemon;
  const status = (await client.PodSandboxStatus({ podSandboxId: pod })).status;
  print('pod', `${pod.slice(0, 13)} ip ${status?.network?.ip}`);
  const cmd = ['sh', '-c', 'hostname; cat /etc/resolv.conf; wget -qO- http://localhost:8080'];
  const exec = await demo.call('ExecSync', 'ExecSync', () =>
    client.ExecSync({ containerId: container, cmd }),
  );
  const output = Buffer.from(exec.value.stdout).toString();
  for (const line of output.trim().split('\n')) print('', `  ${line}`);
  expect(
    output.includes(PAGE) && output.startsWith('demo\n'),
    'the containers reach each other over localhost',
  );
  const page = await (await fetch(`http://127.0.0.1:${HOST_PORT}/`)).text();
  print('host port', `http://127.0.0.1:${HOST_PORT}/ → ${page.trim()}`);
  expect(page === PAGE, 'the host port serves the page');
  for (let n = 0; n < 50 && demo.log('client').length === 0; n++) await sleep(100);
  const [line = ''] = demo.log('client');
  print('log of client', line);
  expect(line.endsWith(`stdout F ${PAGE.trim()}`), 'the log has the page');
  const { containers } = await client.ListContainers({});
  expect(containers.length === 2 && containers.every(({ state }) => state === 1), 'both containers run');
}

function expectNothingLeft(now: Leftovers): void {
  const counts = Object.entries(now).map(([what, count]) => `${what} ${count}`);
  print('leftovers', counts.join(', '));
  expect(
    Object.values(now).every((count) => count === 0),
    'no leftovers',
  );
}

/** Removes nothing if the demo succeeded. */
async function removePods({ client }: TestDaemon): Promise<void> {
  const { items } = await client.ListPodSandbox({});
  for (const { id } of items) await client.RemovePodSandbox({ podSandboxId: id });
}

async function inside(): Promise<void> {
  const directory = mkdtempSync(join(process.env['TMPDIR'] ?? '/var/tmp', 'crisp-demo-'));
  const cgroup = `/crisp-demo-${process.pid}`;
  try {
    await using registry = await startRegistry(join(directory, 'registry'));
    const image = demoImage();
    await pushImage(registry.url, 'demo/web', '1', image);
    const bytes = image.layers.reduce((sum, layer) => sum + layer.bytes.length, 0);
    print(
      'registry',
      `${registry.host}/demo/web:1, made of /bin/busybox: ${image.layers.length} layers, ${bytes} bytes`,
    );
    const settings: DaemonSettings = {
      directory,
      cgroup,
      registries: { [registry.host]: [] },
      metrics: METRICS,
    };
    const started = performance.now();
    const daemon = await startDaemon(settings);
    try {
      const version = await daemon.client.Version({});
      print(
        'crisp',
        `${version.runtimeVersion} serves ${daemon.socket} after ${(performance.now() - started).toFixed(0)} ms`,
      );
      await runPod(new Demo(daemon, directory), `${registry.host}/demo/web:1`);
    } catch (error) {
      console.error(readFileSync(daemon.logFile, 'utf8').slice(-8000));
      throw error;
    } finally {
      await removePods(daemon).catch((error: unknown) => print('removal', String(error)));
      expect((await daemon.stop()) === 0, 'the daemon exits with 0');
    }
    expectNothingLeft(countLeftovers(directory, cgroup, join(directory, 'cni/ipam')));
    expect(!readdirSync('/sys/fs/cgroup').includes(cgroup.slice(1)), 'its cgroup prefix is gone');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Runs the demo in new namespaces; the network interfaces of the machine must be the same before and after. */
function outside(): number {
  const before = readdirSync('/sys/class/net').sort().join(' ');
  const status = runIsolated(import.meta.filename, { CRISP_DEMO: 'inside' });
  const after = readdirSync('/sys/class/net').sort().join(' ');
  expect(before === after, 'the network interfaces of the machine are unchanged');
  console.log(status === 0 ? 'demo: all of it works, and nothing is left behind' : 'demo: FAILED');
  return status ?? 1;
}

if (process.env['CRISP_DEMO'] === 'inside') await inside();
else process.exitCode = outside();
