/**
 * Everything that plugins can change, by its name in `AdjustmentOwners` and in errors: the type of its values, its number on the
 * wire (enum Field of NRI), and how the changes of several plugins go together.
 */
import type {
  AdjustedDevice,
  AdjustedDeviceRule,
  AdjustedHook,
  AdjustedMount,
  AdjustedScheduler,
  AdjustedSeccomp,
  ContainerAdjustment,
} from '#core/model/adjustment.ts';

/** The values: of the field, or of each of its entries. */
export interface FieldValues {
  readonly annotations: string;
  readonly env: string;
  readonly sysctl: string;
  readonly mounts: AdjustedMount;
  readonly devices: AdjustedDevice;
  readonly netDevices: { readonly name: string };
  readonly namespaces: { readonly path: string };
  readonly cdiDevices: true;
  readonly rlimits: { readonly soft: bigint; readonly hard: bigint };
  readonly hugepageLimits: bigint;
  readonly unified: string;
  readonly hooks: { readonly stage: string; readonly hook: AdjustedHook };
  readonly deviceRules: AdjustedDeviceRule;
  readonly args: readonly string[];
  readonly 'memory.limit': bigint;
  readonly 'memory.reservation': bigint;
  readonly 'memory.swap': bigint;
  readonly 'memory.kernel': bigint;
  readonly 'memory.kernelTcp': bigint;
  readonly 'memory.swappiness': bigint;
  readonly 'memory.disableOomKiller': boolean;
  readonly 'memory.useHierarchy': boolean;
  readonly 'cpu.shares': bigint;
  readonly 'cpu.quota': bigint;
  readonly 'cpu.period': bigint;
  readonly 'cpu.realtimeRuntime': bigint;
  readonly 'cpu.realtimePeriod': bigint;
  readonly 'cpu.cpus': string;
  readonly 'cpu.mems': string;
  readonly pids: bigint;
  readonly blockioClass: string;
  readonly rdtClass: string;
  readonly cgroupsPath: string;
  readonly oomScoreAdj: number;
  readonly ioPriority: NonNullable<ContainerAdjustment['ioPriority']>;
  readonly seccompPolicy: AdjustedSeccomp;
  readonly scheduler: AdjustedScheduler;
  readonly memoryPolicy: NonNullable<ContainerAdjustment['memoryPolicy']>;
  readonly 'rdt.closID': string;
  readonly 'rdt.schemata': readonly string[];
  readonly 'rdt.enableMonitoring': boolean;
}

export type Field = keyof FieldValues;

/** Those of one whole number. */
export type IntegerField = {
  [F in Field]: FieldValues[F] extends bigint ? Exclude<F, 'hugepageLimits'> : never;
}[Field];

export interface FieldRules {
  /** Of enum Field; undefined: the wire has none. */
  readonly number: number | undefined;
  /** `single`: one value. `entries`: one for each name. `added`: a list to which every plugin may add. */
  readonly kind: 'single' | 'entries' | 'added';
  /**
   * What the marker of removal (`-` before a name, an empty first argument, `remove` of rdt) does: `replaces` lets a plugin change
   * what another has set; `removes` takes away what is there, but another plugin's change stays a conflict; `none`: no marker.
   */
  readonly marker: 'replaces' | 'removes' | 'none';
}

const single = (number: number, marker: FieldRules['marker'] = 'none'): FieldRules => ({
  number,
  kind: 'single',
  marker,
});
const entries = (number: number, marker: FieldRules['marker'] = 'none'): FieldRules => ({
  number,
  kind: 'entries',
  marker,
});

export const fields: { readonly [F in Field]: FieldRules } = {
  annotations: entries(1, 'replaces'),
  mounts: entries(2, 'replaces'),
  hooks: { number: 3, kind: 'added', marker: 'none' },
  devices: entries(4, 'replaces'),
  cdiDevices: entries(5),
  env: entries(6, 'replaces'),
  args: single(7, 'replaces'),
  'memory.limit': single(8),
  'memory.reservation': single(9),
  'memory.swap': single(10),
  'memory.kernel': single(11),
  'memory.kernelTcp': single(12),
  'memory.swappiness': single(13),
  'memory.disableOomKiller': single(14),
  'memory.useHierarchy': single(15),
  'cpu.shares': single(16),
  'cpu.quota': single(17),
  'cpu.period': single(18),
  'cpu.realtimeRuntime': single(19),
  'cpu.realtimePeriod': single(20),
  'cpu.cpus': single(21),
  'cpu.mems': single(22),
  pids: single(23),
  hugepageLimits: entries(24),
  blockioClass: single(25),
  rdtClass: single(26),
  unified: entries(27),
  cgroupsPath: single(28),
  oomScoreAdj: single(29),
  rlimits: entries(30),
  ioPriority: single(31),
  seccompPolicy: single(32),
  // Isolation is no plugin's to win from another: as with the peers, two that touch one namespace are a conflict.
  namespaces: entries(33, 'removes'),
  sysctl: entries(34, 'replaces'),
  netDevices: entries(35, 'replaces'),
  scheduler: single(36),
  'rdt.closID': single(37, 'replaces'),
  'rdt.schemata': single(38, 'replaces'),
  'rdt.enableMonitoring': single(39, 'replaces'),
  memoryPolicy: single(40),
  deviceRules: { number: undefined, kind: 'added', marker: 'none' },
};

export const isField = (name: string): name is Field => Object.hasOwn(fields, name);

/** What one plugin wants of one field or entry. */
export interface Change<F extends Field = Field> {
  readonly field: F;
  /** Empty where the field has no entries. */
  readonly entry: string;
  /** Undefined: it is to be taken away. */
  readonly value: FieldValues[F] | undefined;
  /** With the marker of removal: `value`, where there is one, replaces what another plugin has set. */
  readonly marked: boolean;
}

/** As in `env FOO` or `memory.limit`. */
export const nameOf = ({ field, entry }: Pick<Change, 'field' | 'entry'>): string =>
  entry === '' ? field : `${field} ${entry}`;

const MAX_SHOWN = 200;

/** A plugin's text for an error: one line, and not a long one. */
export const shown = (text: string): string =>
  (text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text).replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, '?');
