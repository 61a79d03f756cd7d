/** Options of containerd's other plugins. */
import { blockioFile, rdtFile } from '../classes.ts';
import { nriOptions } from '../nri.ts';
import { lacks, maps, moot, type PeerOption, under } from '../option.ts';

const plugin = (id: string, options: readonly PeerOption[]): PeerOption[] => under(['plugins', id], options);

const NO_DATABASE = 'there is no database: records are files';
const COLLECTED = 'files of images are deleted when nothing uses them';
const SNAPSHOTS = 'layers are EROFS images or directories (image.layers) below root, mounted by overlay';
const LAYERS = 'layers are EROFS images that crisp writes itself';

const nri: readonly PeerOption[] = [
  maps('disable', false, 'nri.enabled', {
    note: 'the opposite',
    convert: (value) => ({ set: [[['nri', 'enabled'], value !== true]] }),
  }),
  ...nriOptions({
    socket: 'socket_path',
    plugins: 'plugin_path',
    configurations: 'plugin_config_path',
    registration: 'plugin_registration_timeout',
    request: 'plugin_request_timeout',
    connections: 'disable_connections',
    enable: 'default_validator.enable',
    reject: (what) => `default_validator.reject_${what}_adjustment`,
    required: 'default_validator.required_plugins',
    tolerate: 'default_validator.tolerate_missing_plugins_annotation',
  }),
];

const transfer: readonly PeerOption[] = [
  maps('max_concurrent_downloads', 3, 'image.concurrent_layers', { note: 'over all pulls' }),
  lacks(
    'concurrent_layer_fetch_buffer',
    0,
    'a layer is fetched by one request, and unpacked while it arrives',
  ),
  moot('max_concurrent_uploaded_layers', 3, 'crisp does not push'),
  moot('check_platform_supported', false, 'the platform is that of the node, or image.platform'),
  maps('max_concurrent_unpacks', 1, 'image.unpack_workers', {
    note: 'over all pulls',
    convert: (value) => (value === 1 ? { cannot: '' } : { set: [[['image', 'unpack_workers'], value]] }),
    differs: 'up to four layers are unpacked at the same time (image.unpack_workers)',
  }),
  maps('config_path', '', 'image.hosts_dirs', {
    convert: (value) =>
      value === ''
        ? { same: 'that of the CRI plugin' }
        : { cannot: 'for ctr and nerdctl: config_path of io.containerd.cri.v1.images counts for pods' },
    note: 'that of io.containerd.cri.v1.images, which counts for pods',
  }),
  ...['platform', 'snapshotter', 'differ', 'config_type', 'layer_types', 'optional'].map((key) =>
    moot(`unpack_config.*.${key}`, undefined, SNAPSHOTS),
  ),
  moot('unpack_config', [], SNAPSHOTS),
];

const tracing: readonly PeerOption[] = [
  ...plugin('io.containerd.tracing.processor.v1.otlp', [
    maps('endpoint', '', 'tracing.endpoint', {
      note: 'by HTTP; that of a gRPC receiver is another',
      convert: (value, { get }) => {
        if (value === '') return { same: 'off' };
        const protocol = get('plugins', 'io.containerd.tracing.processor.v1.otlp', 'protocol');
        return String(protocol || 'http/protobuf').startsWith('http')
          ? { set: [[['tracing', 'endpoint'], value]], note: 'crisp sends JSON' }
          : { cannot: 'crisp sends OTLP by HTTP: name that receiver of the collector in tracing.endpoint' };
      },
    }),
    moot('protocol', '', 'always HTTP with JSON'),
    moot('insecure', false, 'the scheme of tracing.endpoint decides'),
  ]),
  ...plugin('io.containerd.internal.v1.tracing', [
    maps('sampling_ratio', undefined, 'tracing.samples_per_million', {
      note: 'a million times the ratio',
      convert: (value) => ({
        set: [[['tracing', 'samples_per_million'], Math.round(Number(value) * 1_000_000)]],
      }),
    }),
    moot('service_name', '', 'the name of the service is crisp'),
  ]),
];

const differs: readonly PeerOption[] = [
  ...plugin('io.containerd.differ.v1.erofs', [
    lacks('mkfs_options', [], LAYERS),
    lacks('enable_tar_index', false, LAYERS),
    lacks('enable_dmverity', false, 'layers are sealed by fs-verity where the disk has it'),
  ]),
  ...plugin('io.containerd.service.v1.diff-service', [
    lacks('default', ['walking'], 'crisp unpacks layers itself'),
    moot('sync_fs', false, 'an image that is listed is whole on the disk'),
  ]),
];

/** Of each kind of snapshotter what a node may have set; all of it is about files that crisp keeps otherwise. */
const snapshotters: readonly PeerOption[] = Object.entries({
  overlayfs: ['root_path', 'upperdir_label', 'sync_remove', 'slow_chown', 'mount_options'],
  erofs: [
    'root_path',
    'ovl_mount_options',
    'enable_fsverity',
    'set_immutable',
    'default_size',
    'max_unmerged_layers',
    'dmverity_mode',
    'layer_content_caches',
  ],
  native: ['root_path'],
  btrfs: ['root_path'],
  zfs: ['root_path'],
  blockfile: ['root_path', 'scratch_file', 'fs_type', 'mount_options', 'recreate_scratch'],
  devmapper: [
    'root_path',
    'pool_name',
    'base_image_size',
    'async_remove',
    'discard_blocks',
    'fs_type',
    'fs_options',
  ],
}).flatMap(([name, keys]) =>
  plugin(
    `io.containerd.snapshotter.v1.${name}`,
    keys.map((key) => moot(key, undefined, SNAPSHOTS)),
  ),
);

export const pluginOptions: readonly PeerOption[] = [
  ...plugin('io.containerd.nri.v1.nri', nri),
  ...plugin('io.containerd.image-verifier.v1.bindir', [
    maps('bin_dir', '/opt/containerd/image-verifier/bin', 'image.verifier_dir'),
    maps('max_verifiers', 10, 'image.max_verifiers'),
    maps('per_verifier_timeout', '10s', 'image.verifier_timeout'),
  ]),
  ...plugin('io.containerd.transfer.v1.local', transfer),
  ...tracing,
  ...plugin('io.containerd.service.v1.tasks-service', [blockioFile, rdtFile]),
  ...plugin('io.containerd.gc.v1.scheduler', [
    ...['pause_threshold', 'deletion_threshold', 'mutation_threshold', 'schedule_delay', 'startup_delay'].map(
      (key) => moot(key, undefined, COLLECTED),
    ),
  ]),
  ...plugin('io.containerd.metadata.v1.bolt', [
    moot('content_sharing_policy', 'shared', 'layers and blobs are shared by all images'),
    moot('no_sync', false, NO_DATABASE),
  ]),
  ...plugin('io.containerd.monitor.task.v1.cgroups', [
    moot('no_prometheus', false, 'metrics of containers are those of CRI, not of /metrics'),
  ]),
  ...plugin('io.containerd.shim.v1.manager', [
    lacks('env', [], 'there are no shims; conmon and the OCI runtime get a fixed PATH and nothing else'),
    moot('socket_dir', '', 'there are no shims'),
  ]),
  ...plugin('io.containerd.runtime.v2.task', [
    moot('platforms', undefined, 'the platform is that of the node'),
    lacks('sched_core', false, 'core scheduling is not set: use a runtime handler that does'),
  ]),
  ...plugin('io.containerd.runtime.v1.linux', [moot('**', undefined, 'removed from containerd')]),
  ...plugin('io.containerd.internal.v1.opt', [moot('path', '/opt/containerd', 'for `ctr install`')]),
  ...plugin('io.containerd.internal.v1.restart', [
    moot('interval', '10s', 'for containers of nerdctl alone'),
  ]),
  ...differs,
  ...snapshotters,
];
