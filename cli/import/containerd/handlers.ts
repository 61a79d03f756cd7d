/** Options of containerd for runtime handlers. */

import { isTable } from '#config/index.ts';
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
import { CONTAINERD, isExecuted, NO_SHIM, RUNC_SHIM, RUNTIMES, shimOptions } from './shim.ts';

const NOT_ENABLED =
  'an annotation that container.allowed_annotations has must name a class of this node: else it is refused; others are ignored';

/** Globs of containerd; crisp has prefixes, one list for pods and containers. */
function annotations(_value: unknown, around: Surroundings): Result {
  const { names, get } = around;
  const lists = ['pod_annotations', 'container_annotations'].flatMap(
    (key) => get(...RUNTIMES, '*', key) as readonly unknown[],
  );
  const globs = [...new Set(lists.map(String))];
  if (globs.length === 0) return { same: 'none' };
  if (!isExecuted(around)) return { cannot: NO_SHIM };
  const prefixes = globs.map((glob) => glob.replace(/\*$/, ''));
  const wrong = globs.filter((_, index) => /[*?[\\]/.test(prefixes[index] ?? ''));
  if (wrong.length > 0)
    return { cannot: `choose allowed_annotations: prefixes of keys, not ${JSON.stringify(wrong)}` };
  return {
    set: [[['runtime', 'handlers', names[0] ?? '', 'allowed_annotations'], prefixes]],
    note: 'as prefixes of keys',
  };
}

/** containerd 1 prints these tables with empty values. */
const removed =
  (why: string): Convert =>
  (value) =>
    [value].flat().every((one) => !one || (isTable(one) && Object.keys(one).length === 0))
      ? { same: 'empty' }
      : { cannot: why };

/** The same option of crisp's handler. */
const ofHandler =
  (key: string): Convert =>
  (value, around) =>
    isExecuted(around)
      ? { set: [[['runtime', 'handlers', around.names[0] ?? '', key], value]] }
      : { cannot: NO_SHIM };

const runtimeOptions: readonly PeerOption[] = [
  maps('runtime_type', 'io.containerd.runc.v2', 'runtime.handlers.*.path', {
    note: 'OCI runtimes alone, by their command line; BinaryName is their program',
    convert: (value) =>
      RUNC_SHIM.test(String(value))
        ? { same: 'an OCI runtime is executed; BinaryName is its program' }
        : { cannot: NO_SHIM },
  }),
  lacks('runtime_path', '', NO_SHIM),
  moot('runtime_engine', '', 'of an earlier containerd; BinaryName is the program'),
  moot('runtime_root', '', 'each handler has its own root in the state directory'),
  maps('pod_annotations', [], 'runtime.handlers.*.allowed_annotations', {
    convert: annotations,
    note: 'prefixes, not globs; one list with container_annotations',
  }),
  maps('container_annotations', [], 'runtime.handlers.*.allowed_annotations', {
    convert: annotations,
    note: 'prefixes, not globs; one list with pod_annotations',
  }),
  ...[
    'privileged_without_host_devices',
    'privileged_without_host_devices_all_devices_allowed',
    'cgroup_writable',
  ].map((key) => maps(key, false, `runtime.handlers.*.${key}`, { convert: ofHandler(key) })),
  maps('base_runtime_spec', '', 'runtime.handlers.*.base_runtime_spec', {
    convert: (value, around) =>
      value === '' ? { same: 'none' } : ofHandler('base_runtime_spec')(value, around),
    note: 'of the file crisp takes process.env, rlimits, capabilities.bounding, mounts and hooks alone',
  }),
  maps('cni_conf_dir', '', 'runtime.handlers.*.cni_conf_dir', {
    convert: (value, around) =>
      value === '' ? { same: 'cni.conf_dir' } : ofHandler('cni_conf_dir')(value, around),
  }),
  maps('cni_max_conf_num', 0, 'runtime.handlers.*.cni_max_networks', {
    convert: (value, around) =>
      value === 0 ? { same: 'cni.max_networks' } : ofHandler('cni_max_networks')(value, around),
  }),
  lacks('snapshotter', '', 'one form of layers is for all handlers: image.layers'),
  lacks(
    'sandboxer',
    'podsandbox',
    'the sandbox is a pause process of crisp: sandboxes by shims are not supported',
    {
      convert: (value) =>
        value === 'podsandbox' || value === '' ? { same: 'a pause process' } : { cannot: NO_SHIM },
    },
  ),
  moot('sandbox_mode', 'podsandbox', 'of an earlier containerd'),
  moot('disable_pause_image_pull', false, 'no pause image is pulled'),
  moot('io_type', '', 'conmon holds the streams of a container'),
  ...under(['options'], shimOptions),
];

export const handlerOptions: readonly PeerOption[] = under(CONTAINERD, [
  maps('default_runtime_name', 'runc', 'runtime.default', {
    convert: (value, { get }) =>
      RUNC_SHIM.test(String(get(...RUNTIMES, String(value), 'runtime_type')))
        ? { set: [[['runtime', 'default'], value]] }
        : { cannot: 'this handler has a shim that crisp does not execute: choose runtime.default' },
    differs: 'the default is crun where it works, else runc (runtime.default)',
  }),
  lacks('ignore_blockio_not_enabled_errors', false, NOT_ENABLED),
  lacks('ignore_rdt_not_enabled_errors', false, NOT_ENABLED),
  lacks('no_pivot', false, 'pivot_root is always used: a root on a ramfs is not supported'),
  lacks('default_runtime.**', undefined, 'removed from containerd: name the handler in runtime.default', {
    convert: removed('removed from containerd: name the handler in runtime.default'),
  }),
  lacks('untrusted_workload_runtime.**', undefined, 'removed from containerd: use a RuntimeClass', {
    convert: removed('removed from containerd: use a RuntimeClass'),
  }),
  ...under(['runtimes', '*'], runtimeOptions),
]);

/** Without BinaryName the program of every handler is runc; that of crisp has the name of the handler. */
export function existingHandlers({ leaves, isSet }: Translation): Derived[] {
  return leaves.flatMap((leaf): Derived[] => {
    const [name = '', last] = leaf.keys.slice(RUNTIMES.length);
    const isRuntime = RUNTIMES.every((key, index) => leaf.keys[index] === key);
    if (!isRuntime || last !== 'runtime_type' || name === 'runc' || !RUNC_SHIM.test(String(leaf.value)))
      return [];
    if (isSet('runtime', 'handlers', name, 'path')) return [];
    const named = leaves.some(({ keys }) => keys.at(-1) === 'BinaryName' && keys.at(-3) === name);
    if (named) return [];
    return [
      {
        leaf,
        set: [['runtime', 'handlers', name, 'path'], 'runc'],
        note: `handler ${name} without BinaryName`,
      },
    ];
  });
}
