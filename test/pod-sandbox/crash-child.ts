/** A daemon that is killed: opens the pod service, runs and removes a pod, and kills itself at the end of a named stage. */

import { decode } from '#core/json-record.ts';
import { Operation, silentLog } from '#core/operation.ts';
import { openKernel } from '#linux/index.ts';
import {
  allCapableHandlers,
  noContainers,
  openPodSandboxes,
  type PodSandboxOptions,
  type SandboxConfig,
} from '#pod-sandbox/index.ts';

interface Orders {
  readonly options: PodSandboxOptions;
  readonly config: SandboxConfig;
  /** `run record`: the act and its stage; `40 ms`: a time; empty: lives to the end and prints the stages. */
  readonly dieAfter: string;
}

const { options, config, dieAfter } = decode(process.argv[2] ?? '') as Orders;
const stages: string[] = [];
const operation = (act: string): Operation =>
  new Operation(act, {
    onStage: (_op, { name }) => {
      stages.push(`${act} ${name}`);
      if (`${act} ${name}` === dieAfter) process.kill(process.pid, 'SIGKILL');
    },
  });

const kernel = await openKernel({ log: silentLog });
// All that it starts is born in a group where the test can find it.
const group = `${options.cgroupPrefix}/daemon`;
await kernel.cgroups.create(group);
await kernel.cgroups.join(group, process.pid);
const service = await openPodSandboxes(options, kernel, silentLog, {
  containers: noContainers,
  handlers: allCapableHandlers,
});
if (dieAfter.endsWith(' ms'))
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), Number.parseInt(dieAfter, 10)).unref();
const id = await service.run({ config, runtimeHandler: '' }, operation('run'));
await service.stop(id, operation('stop'));
await service.remove(id, operation('remove'));
process.stdout.write(JSON.stringify([...new Set(stages)]));
await service.close();
await kernel.close();
