/** `crisp ctl update` and `runtime-config`. */
import { type cri, fromBigInt, toJson } from '#api/cri/v1/index.ts';
import { parseSize } from '#config/index.ts';
import { type Command, type Parsed, UsageError } from '../command.ts';
import { renderDocument } from '../documents.ts';
import { outputFlag, outputOf } from '../output.ts';
import { type Ctl, DOCUMENT_FORMATS, forEachTarget, labelsOf, pick, TARGET_EXITS } from './context.ts';

const size = (parsed: Parsed, flag: string): cri.LinuxContainerResourcesInit['memoryLimitInBytes'] => {
  const text = parsed.text(flag);
  if (text === undefined) return undefined;
  const found = text === '-1' ? -1 : parseSize(text);
  if (found === undefined)
    throw new UsageError(`--${flag} must be a size such as 64MiB, or -1, not '${text}'`);
  return fromBigInt(BigInt(found));
};

const number = (parsed: Parsed, flag: string): cri.LinuxContainerResourcesInit['cpuQuota'] => {
  const text = parsed.text(flag);
  if (text === undefined) return undefined;
  if (!/^-?\d{1,18}$/.test(text)) throw new UsageError(`--${flag} must be a whole number, not '${text}'`);
  return fromBigInt(BigInt(text));
};

export const update: Command<Ctl> = {
  name: 'update',
  usage: 'CONTAINER [CONTAINER...]',
  summary: 'Change the limits of containers; limits not given stay',
  flags: {
    'cpu-period': { type: 'string', value: 'MICROSECONDS', doc: 'Period of the CPU quota' },
    'cpu-quota': { type: 'string', value: 'MICROSECONDS', doc: 'CPU time in each period; -1 for no limit' },
    'cpu-share': { type: 'string', value: 'NUMBER', doc: 'Relative weight of CPU time' },
    'cpuset-cpus': { type: 'string', value: 'LIST', doc: 'Processors, such as 0-3,8' },
    'cpuset-mems': { type: 'string', value: 'LIST', doc: 'Memory nodes' },
    memory: { type: 'string', value: 'SIZE', doc: 'Memory limit; -1 for none' },
    'memory-swap': { type: 'string', value: 'SIZE', doc: 'Limit of memory and swap together' },
    unified: { type: 'string', multiple: true, value: 'FILE=VALUE', doc: 'A control file of cgroup v2' },
  },
  arity: [1, Infinity],
  exits: TARGET_EXITS,
  async run(ctl, parsed) {
    const linux: cri.LinuxContainerResourcesInit = {
      cpuPeriod: number(parsed, 'cpu-period'),
      cpuQuota: number(parsed, 'cpu-quota'),
      cpuShares: number(parsed, 'cpu-share'),
      cpusetCpus: parsed.text('cpuset-cpus'),
      cpusetMems: parsed.text('cpuset-mems'),
      memoryLimitInBytes: size(parsed, 'memory'),
      memorySwapLimitInBytes: size(parsed, 'memory-swap'),
      unified: labelsOf(parsed, 'unified'),
    };
    const { containers } = await ctl.client.ListContainers({}, ctl.call());
    return forEachTarget(ctl, parsed.args, async (target) => {
      const { id: containerId } = pick(containers, target);
      await ctl.client.UpdateContainerResources({ containerId, linux }, ctl.call());
      return target;
    });
  },
};

export const runtimeConfig: Command<Ctl> = {
  name: 'runtime-config',
  usage: '',
  summary: 'Show the RuntimeConfig of the runtime, or set its range of pod addresses',
  flags: {
    'pod-cidr': { type: 'string', value: 'RANGE[,RANGE]', doc: 'Set this range (UpdateRuntimeConfig)' },
    ...outputFlag(DOCUMENT_FORMATS),
  },
  arity: [0, 0],
  async run(ctl, parsed) {
    const format = outputOf(parsed, DOCUMENT_FORMATS);
    const podCidr = parsed.text('pod-cidr');
    if (podCidr !== undefined) {
      await ctl.client.UpdateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr } } }, ctl.call());
      return 0;
    }
    const reply = await ctl.client.RuntimeConfig({}, ctl.call());
    ctl.terminal.out(renderDocument(toJson('RuntimeConfigResponse', reply), format));
    return 0;
  },
};
