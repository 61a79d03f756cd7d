/** Options of CRI-O: runtime handlers and workloads. */
import { isDeepStrictEqual } from 'node:util';
import { covered, instead } from '../annotation.ts';
import {
  type Convert,
  lacks,
  maps,
  moot,
  type PeerOption,
  type Result,
  type Surroundings,
  under,
} from '../option.ts';
import type { Derived, Translation } from '../peer.ts';
import { crioAnnotations } from './annotations.ts';

const RUNTIMES = ['crio', 'runtime', 'runtimes'];
const DEFAULT_RUNTIME = ['crio', 'runtime', 'default_runtime'];
/** They exist in crisp without an entry. */
const BUILT_IN = ['crun', 'runc'];
const NO_SHIM =
  'shims of containerd are not executed: name an OCI runtime in path (gVisor: runsc), or keep these pods on nodes with CRI-O';
const TYPES: Readonly<Record<string, Result>> = {
  '': { same: 'the only type of crisp' },
  oci: { same: 'the only type of crisp' },
  pod: { cannot: 'conmon-rs is not used: the same OCI runtime runs under conmon' },
};
const ONE_CONMON = 'all handlers have the same conmon';
const DEFAULT_ANNOTATIONS = ['io.containers.trace-syscall', 'devices.crio.io'];

/** What crisp acts upon too, or passes to the OCI runtime, is allowed; of the others the note says what is in their place. */
function annotations(value: unknown, { names, get }: Surroundings): Result {
  const list = (value as readonly unknown[]).map(String);
  if (isDeepStrictEqual(list, DEFAULT_ANNOTATIONS)) return { cannot: '' };
  const known = list.map((name) => ({ name, entries: covered(crioAnnotations, name) }));
  const allowed = known
    .filter(({ entries }) => entries.length === 0 || entries.some((one) => instead(one) === undefined))
    .map(({ name }) => name);
  const replaced = known.flatMap(({ name, entries }) =>
    entries.flatMap((one) => {
      const text = instead(one);
      return text === undefined
        ? []
        : [{ text, key: one.keys.includes(name) ? name : (one.keys[0] ?? name) }];
    }),
  );
  const notes = [...Map.groupBy(replaced, ({ text }) => text)].map(
    ([text, found]) => `${found.map(({ key }) => key).join(', ')}: ${text}`,
  );
  const note = notes.length === 0 ? '' : `crisp does not act upon all of these; instead: ${notes.join('; ')}`;
  if (allowed.length === 0) return note === '' ? { same: 'none' } : { cannot: note };
  if (get(...RUNTIMES, '*', 'runtime_type') === 'vm') return { cannot: NO_SHIM };
  return { set: [[['runtime', 'handlers', names[0] ?? '', 'allowed_annotations'], allowed]], note };
}

/** The same option of crisp's handler. */
const ofHandler =
  (key: string): Convert =>
  (value, { names: [name = ''], get }) =>
    get(...RUNTIMES, '*', 'runtime_type') === 'vm'
      ? { cannot: NO_SHIM }
      : { set: [[['runtime', 'handlers', name, key], value]] };

const handlerOptions: readonly PeerOption[] = [
  maps('runtime_path', '', 'runtime.handlers.*.path', {
    convert: (value, { names: [name = ''], get }) => {
      if (get(...RUNTIMES, '*', 'runtime_type') === 'vm') return { cannot: NO_SHIM };
      return value === ''
        ? { same: `the same here: ${name} in PATH` }
        : { set: [[['runtime', 'handlers', name, 'path'], value]] };
    },
  }),
  lacks('runtime_type', 'oci', `an OCI runtime under conmon ("oci") is the only type; "vm": ${NO_SHIM}`, {
    convert: (value) => TYPES[String(value)] ?? { cannot: NO_SHIM },
  }),
  moot('runtime_root', '/run/crun', 'each handler has its own root in the state directory'),
  maps('inherit_default_runtime', false, 'runtime.handlers.*.path', {
    convert: (value, { names: [name = ''], get }) => {
      if (value !== true) return { same: 'off' };
      const base = String(get(...DEFAULT_RUNTIME) || 'crun');
      const path = get(...RUNTIMES, base, 'runtime_path') || base;
      return {
        set: [[['runtime', 'handlers', name, 'path'], path]],
        note: `the path of the default runtime, ${base}`,
      };
    },
  }),
  lacks('runtime_config_path', '', 'it is for shims of containerd, which are not executed'),
  maps('privileged_without_host_devices', false, 'runtime.handlers.*.privileged_without_host_devices', {
    convert: ofHandler('privileged_without_host_devices'),
  }),
  maps('allowed_annotations', DEFAULT_ANNOTATIONS, 'runtime.handlers.*.allowed_annotations', {
    convert: annotations,
    note: 'what crisp acts upon and what is passed to the OCI runtime; see the table of annotations',
    differs:
      'io.containers.trace-syscall is passed to OCI hooks where runtime.handlers.*.allowed_annotations has it; devices: container.allowed_devices',
  }),
  maps('monitor_path', '', 'conmon.path', {
    note: ONE_CONMON,
    convert: (value) => (value === '' ? { same: 'conmon in PATH' } : { set: [[['conmon', 'path'], value]] }),
  }),
  moot('monitor_cgroup', 'system.slice', 'the monitors of a pod are in a cgroup of that pod'),
  moot('monitor_exec_cgroup', '', 'commands of ExecSync run in the cgroup of the container'),
  lacks(
    'monitor_env',
    ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    'conmon gets a fixed PATH and nothing else',
  ),
  lacks('platform_runtime_paths', {}, 'one handler has one program: make a handler for each platform'),
  lacks('runtime_pull_image', false, 'images are always pulled by crisp'),
  lacks(
    'container_min_memory',
    '500KiB',
    'there is no minimum: the kernel kills a container that has too little, and the pod says so (OOMKilled)',
  ),
  lacks('no_sync_log', false, 'conmon syncs the log'),
  lacks('default_annotations', {}, 'set the annotations in the pod'),
  moot('stream_websockets', false, 'WebSocket is always served beside SPDY'),
  lacks('exec_cpu_affinity', '', 'a command runs on all CPUs of its container'),
  maps('seccomp_profile', '', 'runtime.handlers.*.seccomp_profile', {
    convert: (value, around) =>
      value === '' ? { same: 'that of all handlers' } : ofHandler('seccomp_profile')(value, around),
  }),
  maps('container_create_timeout', 240, 'timeouts.runtime', {
    convert: (value) =>
      value === 240
        ? { cannot: '' }
        : { set: [[['timeouts', 'runtime'], `${value}s`]], note: 'for each call of any OCI runtime' },
    note: 'for each call of any OCI runtime',
    differs: 'one call of the OCI runtime may take 60 s (timeouts.runtime)',
  }),
];

const WORKLOADS =
  'there are no workloads: set resources in the pods, and CPUs apart for the system by reservedSystemCPUs of the kubelet';

export const handlers: readonly PeerOption[] = [
  ...under([...RUNTIMES, '*'], handlerOptions),
  // Tables of annotations and platforms, whose keys the user chooses.
  ...under(
    [...RUNTIMES, '*'],
    [
      lacks('default_annotations.*', undefined, 'set the annotations in the pod'),
      lacks(
        'platform_runtime_paths.*',
        undefined,
        'one handler has one program: make a handler for each platform',
      ),
    ],
  ),
  ...under(
    ['crio', 'runtime', 'workloads', '*'],
    [
      lacks('activation_annotation', undefined, WORKLOADS),
      lacks('annotation_prefix', undefined, WORKLOADS),
      lacks('allowed_annotations', undefined, WORKLOADS),
      ...['cpushares', 'cpuquota', 'cpuperiod', 'cpuset', 'cpulimit'].map((name) =>
        lacks(`resources.${name}`, undefined, WORKLOADS),
      ),
    ],
  ),
];

/** A handler of which nothing else is set must exist, too: its program is looked up by its name. */
export function existingHandlers({ leaves, isSet }: Translation): Derived[] {
  const seen = new Set<string>(BUILT_IN);
  return leaves.flatMap((leaf): Derived[] => {
    const name = leaf.keys[RUNTIMES.length];
    const isRuntime = RUNTIMES.every((key, index) => leaf.keys[index] === key);
    if (!isRuntime || name === undefined || seen.has(name)) return [];
    seen.add(name);
    const type = leaves.find(
      ({ keys }) =>
        keys.length === RUNTIMES.length + 2 && keys.at(-2) === name && keys.at(-1) === 'runtime_type',
    );
    if (isSet('runtime', 'handlers', name, 'path') || type?.value === 'vm') return [];
    return [
      {
        leaf,
        set: [['runtime', 'handlers', name, 'path'], name],
        note: `handler ${name}: its program in PATH`,
      },
    ];
  });
}
