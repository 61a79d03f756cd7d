/** Limits as a plugin sends them, for a new container or for one that is there. */
import type { nri } from '#api/nri/index.ts';
import type { AdjustedDeviceRule } from '#core/model/adjustment.ts';
import type { Change, IntegerField } from '../fields.ts';
import { plainChanges, singleChange } from './entries.ts';
import type { Reader } from './reader.ts';

/** -1 is no limit. */
const UNLIMITED = -1n;
/** Microseconds; shortest quota and period, and longest period (max_cfs_quota_period and its companions, sched/core.c). */
const MIN_CFS = 1000n;
const MAX_CFS = 1_000_000n;
/** memory.swappiness (cgroup v1). */
const MAX_SWAPPINESS = 200n;
/** pid_max of 64-bit kernels. */
const MAX_PIDS = 4_194_304n;

const LIST = /^[0-9]+(-[0-9]+(:[0-9]+\/[0-9]+)?)?(,[0-9]+(-[0-9]+(:[0-9]+\/[0-9]+)?)?)*$/;
const PAGE_SIZE = /^[1-9][0-9]{0,5}[KMGT]?B$/;
/** The files of `cgroup.` move and end processes, they do not limit. */
const CONTROL_FILE = /^(?!cgroup\.)[a-z0-9_]+(\.[A-Za-z0-9_]+)+$/;
const ONE_LINE = /^[^\0\n]*$/;
/** Of the node's configuration of blockio or RDT; empty: none. */
const CLASS = /^[A-Za-z0-9_.:-]*$/;

/** Throws InvalidArgument for what no kernel takes. Zero is a value here. */
export function resourceChanges(reader: Reader, sent: nri.LinuxResources | undefined): Change[] {
  if (!sent) return [];
  const { blockioClass, rdtClass, pids } = sent;
  const className = (field: string, value: string) =>
    reader.matching(field, value, CLASS, 'name a class of the configuration');
  return [
    ...memoryChanges(reader, sent.memory),
    ...cpuChanges(reader, sent.cpu),
    ...plainChanges(
      reader,
      {
        field: 'hugepageLimits',
        name: (size) =>
          reader.matching('hugepageLimits', size, PAGE_SIZE, 'send a size of pages such as 2MB', 32),
        value: (limit, size) => reader.integer(`hugepageLimits ${size}`, limit, 0n),
      },
      sent.hugepageLimits.map(({ pageSize, limit }) => ({ name: pageSize, value: limit })),
    ),
    ...plainChanges(
      reader,
      {
        field: 'unified',
        name: (file) =>
          reader.matching(
            'unified',
            file,
            CONTROL_FILE,
            'send the name of a cgroup file with a limit, such as memory.high',
          ),
        value: (value, file) => reader.matching(`unified ${file}`, value, ONE_LINE, 'send one line'),
      },
      reader.entries('unified', sent.unified).map(([name, value]) => ({ name, value })),
    ),
    ...(blockioClass ? singleChange('blockioClass', className('blockioClass', blockioClass.value)) : []),
    ...(rdtClass ? singleChange('rdtClass', className('rdtClass', rdtClass.value)) : []),
    // 0 is what a message without a limit has.
    ...(pids && pids.limit !== 0n
      ? singleChange('pids', reader.integer('pids', pids.limit, UNLIMITED, MAX_PIDS))
      : []),
  ];
}

/** The field if the plugin has sent it. */
const sentInteger = (
  reader: Reader,
  field: IntegerField,
  sent: { readonly value: bigint } | undefined,
  least: bigint,
  most?: bigint,
): Change[] => singleChange(field, sent && reader.integer(field, sent.value, least, most));

function memoryChanges(reader: Reader, sent: nri.LinuxMemory | undefined): Change[] {
  if (!sent) return [];
  return [
    ...sentInteger(reader, 'memory.limit', sent.limit, UNLIMITED),
    ...sentInteger(reader, 'memory.reservation', sent.reservation, UNLIMITED),
    ...sentInteger(reader, 'memory.swap', sent.swap, UNLIMITED),
    ...sentInteger(reader, 'memory.kernel', sent.kernel, UNLIMITED),
    ...sentInteger(reader, 'memory.kernelTcp', sent.kernelTcp, UNLIMITED),
    ...sentInteger(reader, 'memory.swappiness', sent.swappiness, 0n, MAX_SWAPPINESS),
    ...singleChange('memory.disableOomKiller', sent.disableOomKiller?.value),
    ...singleChange('memory.useHierarchy', sent.useHierarchy?.value),
  ];
}

function cpuChanges(reader: Reader, sent: nri.LinuxCPU | undefined): Change[] {
  if (!sent) return [];
  const set = (field: 'cpu.cpus' | 'cpu.mems', value: string): Change[] =>
    value === ''
      ? []
      : singleChange(field, reader.matching(field, value, LIST, 'send a list such as 0-3,8', 4096));
  if (sent.quota && sent.quota.value > 0n) reader.integer('cpu.quota', sent.quota.value, MIN_CFS);
  if (sent.period && sent.period.value > 0n)
    reader.integer('cpu.period', sent.period.value, MIN_CFS, MAX_CFS);
  return [
    ...sentInteger(reader, 'cpu.shares', sent.shares, 0n),
    ...sentInteger(reader, 'cpu.quota', sent.quota, UNLIMITED),
    ...sentInteger(reader, 'cpu.period', sent.period, 0n),
    ...sentInteger(reader, 'cpu.realtimeRuntime', sent.realtimeRuntime, UNLIMITED),
    ...sentInteger(reader, 'cpu.realtimePeriod', sent.realtimePeriod, 0n),
    ...set('cpu.cpus', sent.cpus),
    ...set('cpu.mems', sent.mems),
  ];
}

/** The kernel's numbers of devices: 12 and 20 bits (kdev_t.h). */
export const MAX_MAJOR = 4095;
export const MAX_MINOR = 1_048_575;

/** Rules of the device filter. An update of a container that is there has none, as with the peers. */
export const deviceRuleChanges = (reader: Reader, sent: nri.LinuxResources | undefined): Change[] =>
  reader.list('deviceRules', sent?.devices ?? []).map((rule) => ({
    field: 'deviceRules',
    entry: '',
    value: deviceRule(reader, rule),
    marked: false,
  }));

function deviceRule(reader: Reader, rule: nri.LinuxDeviceCgroup): AdjustedDeviceRule {
  const field = 'deviceRules';
  /** -1 means any, as an absent one. */
  const number = (sent: { readonly value: bigint } | undefined, most: number) =>
    sent && sent.value !== -1n ? reader.number(field, sent.value, 0, most) : undefined;
  const major = number(rule.major, MAX_MAJOR);
  const minor = number(rule.minor, MAX_MINOR);
  return {
    allow: rule.allow,
    type: reader.oneOf(field, rule.type || 'a', ['a', 'b', 'c']),
    ...(major === undefined ? {} : { major }),
    ...(minor === undefined ? {} : { minor }),
    access: reader.matching(field, rule.access, /^[rwm]{0,3}$/, 'send letters of rwm'),
  };
}
