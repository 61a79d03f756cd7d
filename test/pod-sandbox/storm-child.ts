/**
 * A daemon in a storm: opens the pod service, recovers, removes what an earlier one has left, and then makes and removes pods, some at
 * a time, until it has had those that it was given, or is killed. Prints the number of each pod that has begun, `ready` for each that is, then `end`.
 */
import { CrispError, describeError } from '#core/errors.ts';
import { decode } from '#core/json-record.ts';
import { Operation, silentLog } from '#core/operation.ts';
import { openKernel } from '#linux/index.ts';
import {
  allCapableHandlers,
  defaultLinux,
  noContainers,
  openPodSandboxes,
  type PodSandboxOptions,
  type SandboxConfig,
} from '#pod-sandbox/index.ts';

export interface StormOrders {
  readonly options: PodSandboxOptions;
  /** Numbers of pods, the last one excluded. */
  readonly from: number;
  readonly to: number;
  readonly atOnce: number;
}

/** After so many the pod must be gone: three tries are given up. */
const MAX_ENDS = 6;

const { options, from, to, atOnce } = decode(process.argv[2] ?? '') as StormOrders;
const operation = () => new Operation('storm', {});
const kernel = await openKernel({ log: silentLog });
const group = `${options.cgroupPrefix}/daemon`;
await kernel.cgroups.create(group);
await kernel.cgroups.join(group, process.pid);
const service = await openPodSandboxes(options, kernel, silentLog, {
  containers: noContainers,
  handlers: allCapableHandlers,
});
await service.recover(operation());
for (const { id } of service.list()) await end(id);

let next = from;
await Promise.all(Array.from({ length: atOnce }, lane));
process.stdout.write('end\n');
await service.close();
await kernel.close();

async function lane(): Promise<void> {
  while (next < to) {
    const number = next++;
    process.stdout.write(`${number}\n`);
    const config = podConfig(number);
    const id = await service.run({ config, runtimeHandler: '' }, operation()).catch((error: unknown) => {
      // A plugin was killed, or another holds the last addresses: nothing else.
      if (!(error instanceof CrispError) || error.code === 'Internal') fail(`pod ${number}: run`, error);
      return undefined;
    });
    if (id) process.stdout.write('ready\n');
    const left = id ?? service.list().find((pod) => pod.config.metadata.name === config.metadata.name)?.id;
    if (left) await end(left);
  }
}

/** As the kubelet: again, until it succeeds. */
async function end(id: ReturnType<typeof service.list>[number]['id']): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await service.stop(id, operation());
      await service.remove(id, operation());
      return;
    } catch (error) {
      if (tries === MAX_ENDS) fail(`${id}: not removed after ${tries} tries`, error);
    }
  }
}

function fail(what: string, error: unknown): void {
  process.stdout.write(`wrong ${what}: ${describeError(error)}\n`);
}

function podConfig(number: number): SandboxConfig {
  return {
    metadata: { name: `storm-${number}`, uid: `uid-${number}`, namespace: 'ns', attempt: 0 },
    hostname: 'storm',
    logDirectory: '',
    dns: undefined,
    portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort: 20_000 + number, hostIp: '' }],
    labels: {},
    annotations: {},
    linux: defaultLinux,
  };
}
