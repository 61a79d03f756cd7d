/**
 * One specification of the Container Device Interface: a vendor's edits of containers that get its devices. The file is
 * the vendor's, so all of it is checked; unknown fields are refused, not ignored.
 */
import { parse } from 'yaml';
import { CrispError } from '#core/errors.ts';
import { Fields } from '../hooks/fields.ts';
import { type HookStage, hookStages, isHookStage, type OciHook, type OciIntelRdt } from '../spec/oci.ts';

export interface CdiDeviceNode {
  readonly path: string;
  /** Its path on the host; `path` where that is absent. */
  readonly hostPath: string;
  /** `b`, `c`, `u` or `p`; empty: the host's. */
  readonly type: string;
  readonly major: number | undefined;
  readonly minor: number | undefined;
  readonly fileMode: number | undefined;
  readonly permissions: string;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly options: readonly string[];
  readonly type: string;
}

export interface CdiNetDevice {
  /** Its name on the node. */
  readonly hostInterfaceName: string;
  /** Its name in the container. */
  readonly name: string;
}

export interface CdiEdits {
  readonly env: readonly string[];
  readonly deviceNodes: readonly CdiDeviceNode[];
  readonly mounts: readonly CdiMount[];
  readonly hooks: readonly (OciHook & { readonly stage: HookStage })[];
  readonly additionalGids: readonly number[];
  readonly netDevices: readonly CdiNetDevice[];
  readonly intelRdt: Readonly<OciIntelRdt> | undefined;
}

export interface CdiSpec {
  readonly file: string;
  /** `vendor/class` */
  readonly kind: string;
  /** Of all devices, made once for a container that gets any of them. */
  readonly edits: CdiEdits;
  readonly devices: ReadonlyMap<string, CdiEdits>;
}

const VERSION = /^(0\.[3-9]|1\.\d{1,3})\.\d{1,3}$/;
const KIND = /^[A-Za-z]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?\/[A-Za-z]([A-Za-z0-9_-]{0,126}[A-Za-z0-9])?$/;
const DEVICE = /^[A-Za-z0-9]([A-Za-z0-9_.:-]{0,254}[A-Za-z0-9])?$/;
const MAX_ID = 0xffff_fffe;

/** Parses JSON or YAML (of which JSON is a part). Throws FailedPrecondition naming the file and the field. */
export function parseSpec(file: string, text: string): CdiSpec {
  let document: unknown;
  try {
    document = parse(text, { maxAliasCount: 32, logLevel: 'error' });
  } catch (error) {
    throw new CrispError('FailedPrecondition', `CDI spec ${file} is neither JSON nor YAML`, {
      cause: error,
      hint: 'fix the file, or remove it',
    });
  }
  const top = new Fields(`CDI spec ${file}`, document);
  const known = ['cdiVersion', 'kind', 'annotations', 'devices', 'containerEdits'];
  top.only(known);
  const version = top.matching('cdiVersion', VERSION);
  const kind = top.matching('kind', KIND);
  const devices = new Map<string, CdiEdits>();
  for (const device of top.objects('devices')) {
    device.only(['name', 'annotations', 'containerEdits']);
    const name = device.matching('name', DEVICE);
    if (devices.has(name)) throw top.wrong('devices', `names ${name} twice`);
    devices.set(name, editsOf(device, version));
  }
  if (devices.size === 0) throw top.wrong('devices', 'is empty');
  return { file, kind, edits: editsOf(top, version), devices };
}

function editsOf(owner: Fields, version: string): CdiEdits {
  const edits = owner.object('containerEdits');
  edits.only(['env', 'deviceNodes', 'mounts', 'hooks', 'additionalGids', 'netDevices', 'intelRdt']);
  needVersion(edits, 'netDevices', version, '1.1');
  needVersion(edits, 'intelRdt', version, '0.7');
  const env = edits.texts('env');
  const bad = env.find((entry) => !/^[^=\0]+=[^\0]*$/.test(entry));
  if (bad !== undefined) throw edits.wrong('env', `has ${JSON.stringify(bad)}, which is not NAME=value`);
  return {
    env,
    deviceNodes: edits.objects('deviceNodes').map(deviceNode),
    mounts: edits.objects('mounts').map(mount),
    hooks: edits.objects('hooks').map(hook),
    additionalGids: edits.numbers('additionalGids', 1, MAX_ID),
    netDevices: netDevices(edits),
    intelRdt: edits.has('intelRdt') ? intelRdt(edits.object('intelRdt'), version) : undefined,
  };
}

/** The specification requires that a file is refused whose version is below that of a field in it. */
function needVersion(fields: Fields, field: string, version: string, first: string): void {
  if (!fields.has(field) || isAtLeast(version, first)) return;
  throw fields.wrong(field, `needs cdiVersion ${first}.0, not ${version}`);
}

function isAtLeast(version: string, first: string): boolean {
  const [[major = 0, minor = 0], [a = 0, b = 0]] = [version, first].map((text) =>
    text.split('.').map(Number),
  ) as [number[], number[]];
  return major > a || (major === a && minor >= b);
}

/** As the kernel accepts it (dev_valid_name), in ASCII. */
const INTERFACE = /^(?!\.{1,2}$)[!-.0-9;-~]{1,15}$/;

function netDevices(edits: Fields): CdiNetDevice[] {
  const devices = edits.objects('netDevices').map((device) => {
    device.only(['hostInterfaceName', 'name']);
    return {
      hostInterfaceName: device.matching('hostInterfaceName', INTERFACE),
      name: device.matching('name', INTERFACE),
    };
  });
  for (const key of ['hostInterfaceName', 'name'] as const) {
    const names = devices.map((device) => device[key]);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined) throw edits.wrong('netDevices', `has ${key} ${twice} twice`);
  }
  return devices;
}

/** A directory below the root of resctrl; `/` is the root itself. */
const CLOS = /^(?:\/|(?!\.{1,2}$)[^/\n\0]{0,255})$/;
/** A line of a schemata file, without an end. */
const SCHEMA = /^[^\0]{0,4096}$/;

function intelRdt(given: Fields, version: string): OciIntelRdt {
  given.only(['closID', 'l3CacheSchema', 'memBwSchema', 'schemata', 'enableMonitoring']);
  for (const field of ['schemata', 'enableMonitoring']) needVersion(given, field, version, '1.1');
  const text = (field: string, pattern: RegExp) =>
    given.has(field) ? { [field]: given.matching(field, pattern) } : {};
  const enableMonitoring = given.flag('enableMonitoring');
  return {
    ...text('closID', CLOS),
    ...text('l3CacheSchema', SCHEMA),
    ...text('memBwSchema', SCHEMA),
    ...(given.has('schemata') ? { schemata: given.texts('schemata') } : {}),
    ...(enableMonitoring === undefined ? {} : { enableMonitoring }),
  };
}

function deviceNode(node: Fields): CdiDeviceNode {
  node.only(['path', 'hostPath', 'type', 'major', 'minor', 'fileMode', 'permissions', 'uid', 'gid']);
  const path = node.path('path');
  return {
    path,
    hostPath: node.has('hostPath') ? node.path('hostPath') : path,
    type: node.matching('type', /^[bcup]?$/, ''),
    major: node.number('major', 0, 0xffff_ffff),
    minor: node.number('minor', 0, 0xffff_ffff),
    fileMode: node.number('fileMode', 0, 0o7777),
    permissions: node.matching('permissions', /^[rwm]{0,3}$/, ''),
    uid: node.number('uid', 0, MAX_ID),
    gid: node.number('gid', 0, MAX_ID),
  };
}

function mount(given: Fields): CdiMount {
  given.only(['hostPath', 'containerPath', 'options', 'type']);
  const type = given.matching('type', /^[a-z0-9]{0,32}$/, '');
  return {
    hostPath: ['', 'bind'].includes(type) ? given.path('hostPath') : given.matching('hostPath', /^[^\0]+$/),
    containerPath: given.path('containerPath'),
    options: given.texts('options'),
    type,
  };
}

function hook(given: Fields): CdiEdits['hooks'][number] {
  given.only(['hookName', 'path', 'args', 'env', 'timeout']);
  const stage = given.matching('hookName', /^[A-Za-z]+$/);
  if (!isHookStage(stage)) throw given.wrong('hookName', `is ${stage}, not one of ${hookStages.join(', ')}`);
  const timeout = given.number('timeout', 1, 3600);
  return {
    stage: stage as HookStage,
    path: given.path('path'),
    args: given.texts('args'),
    env: given.texts('env'),
    ...(timeout === undefined ? {} : { timeout }),
  };
}
